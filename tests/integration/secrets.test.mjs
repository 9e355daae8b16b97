// A secret goes to the one origin it belongs to, and nowhere else.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { execFileSync, spawnSync } from 'node:child_process';
import tls from 'node:tls';
import { assert, assertFailure, assertOwnError, assertResult, assertText, BINARY, Bridge, describe, it, QUICK, run, SANITIZED, scenario, scratchDirectory, Server, until } from '../lib/scenario.mjs';
import { AuthServer } from '../lib/authserver.mjs';
import { makeCertificates } from '../lib/certificates.mjs';

const SECRET = 'qT7-vK2pX9_mZ4wB8nR1sL6dF3gH5jC0';
const TRACE = ['--initial-retry-delay', '100', '--max-retry-delay', '300', '--max-retries', '3', '--log-level', 'trace'];

/** Every form in which a secret may stand somewhere. */
function forms(secret) {
	const b64 = (s) => [Buffer.from(s).toString('base64'), Buffer.from(s).toString('base64url')].map((x) => x.replace(/=+$/, ''));
	return [secret, encodeURIComponent(secret), [...Buffer.from(secret)].map((b) => `%${b.toString(16).padStart(2, '0')}`).join(''), ...b64(secret), ...b64(` ${secret}`).map((x) => x.slice(2)), ...b64(`  ${secret}`).map((x) => x.slice(3)), Buffer.from(secret).toString('hex'), secret.slice(0, 20), secret.slice(-20)];
}
function assertNoSecret(text, secret, where) {
	for (const f of forms(secret)) if (f.length >= 12) assert.ok(!text.includes(f), `${JSON.stringify(f)} stands in ${where}: ...${text.slice(Math.max(0, text.indexOf(f) - 80), text.indexOf(f) + 40)}`);
}
function assertNoSecretAnywhere(br, secret) {
	assertNoSecret(br.stderr, secret, 'stderr');
	assertNoSecret(br.lines.map((l) => l.raw).filter((l) => /mcp-holdfast/.test(l)).join('\n'), secret, 'an error of ours');
	const walk = (d) => fs.readdirSync(d, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? walk(path.join(d, e.name)) : [path.join(d, e.name)]));
	/* A file that is written anew has another name meanwhile, and may have left it when we open it. */
	const all = () => { try { return walk(br.scratch).map((f) => [f, fs.readFileSync(f, 'latin1')]); } catch (e) { if (e.code !== 'ENOENT') throw e; return all(); } };
	for (const [f, text] of all()) assertNoSecret(text, secret, f);
}
/** Everything that makes a program talk: errors that quote what was sent, cuts, an outage. */
async function provoke(srv, br, quote) {
	const echo = (e) => quote(e);
	for (const answer of [
		(e) => e.json({ error: 'boom', said: echo(e), target: e.target }, { status: 500 }),
		(e) => e.reply(502, { 'Content-Type': 'text/html', 'X-Quoted': echo(e).replace(/[\r\n]/g, ' ') }, `<html>${echo(e)} ${e.target} ${encodeURIComponent(echo(e))} ${Buffer.from(echo(e)).toString('base64')}</html>`),
		(e) => e.reply(403, { 'Content-Type': 'text/plain' }, echo(e)),
		(e) => e.reply(401, { 'WWW-Authenticate': `Bearer error="invalid_token", error_description="${echo(e).replaceAll('"', '')}"` }, echo(e)),
		(e) => e.json(`{"broken ${echo(e)}`),
		(e) => e.reset(),
	]) {
		srv.first('tools/call:append', answer);
		srv.when((e) => /well-known|register|token/.test(e.path), (e) => e.reply(404));
		await br.call('append');
		srv.clear();
	}
	srv.first('tools/call:append', (e) => e.error(-32603, `failed with ${echo(e)}`));
	await br.call('append');
	srv.cut();
	await br.request('tools/list').get(15000);
}

describe('secrets at trace level', { concurrency: 4 }, () => {
	scenario('a Bearer token in a header is sent and shows up nowhere', { defaults: TRACE, args: ['--header', `Authorization: Bearer ${SECRET}`] }, async ({ srv, br }) => {
		assert.ok(srv.exchanges.every((e) => e.headers.authorization === `Bearer ${SECRET}`));
		await provoke(srv, br, (e) => e.headers.authorization);
		assertNoSecretAnywhere(br, SECRET);
	});

	scenario('Basic credentials show up nowhere, decoded neither', { defaults: TRACE, args: ['-H', `Authorization: Basic ${Buffer.from(`user:${SECRET}`).toString('base64')}`] }, async ({ srv, br }) => {
		await provoke(srv, br, (e) => `${e.headers.authorization} ${SECRET}`);
		assertNoSecretAnywhere(br, SECRET);
		assert.ok(!br.stderr.includes(Buffer.from(`user:${SECRET}`).toString('base64').slice(0, 24)));
	});

	scenario('a header of any name shows up nowhere', { defaults: TRACE, args: ['-H', `X-Api-Key: ${SECRET}`] }, async ({ srv, br }) => {
		await provoke(srv, br, (e) => e.headers['x-api-key']);
		assertNoSecretAnywhere(br, SECRET);
	});

	scenario('headers come from --header-file, too', { defaults: TRACE, args: ({ scratch }) => { fs.writeFileSync(path.join(scratch, 'headers'), `# comment\nX-Api-Key: ${SECRET}\n\nX-Other: plain-value\n`, { mode: 0o600 }); return ['--header-file', path.join(scratch, 'headers')]; } }, async ({ srv, br, scratch }) => {
		assert.equal(srv.exchanges[0].headers['x-api-key'], SECRET);
		assert.equal(srv.exchanges[0].headers['x-other'], 'plain-value');
		await provoke(srv, br, (e) => e.headers['x-api-key']);
		fs.rmSync(path.join(scratch, 'headers'));
		assertNoSecretAnywhere(br, SECRET);
	});

	scenario('a header value from the environment shows up nowhere', { defaults: TRACE, env: { THE_TOKEN: SECRET }, args: ['-H', 'Authorization: Bearer ${THE_TOKEN}'] }, async ({ srv, br }) => {
		assert.equal(srv.exchanges[0].headers.authorization, `Bearer ${SECRET}`);
		await provoke(srv, br, (e) => e.headers.authorization);
		assertNoSecretAnywhere(br, SECRET);
	});

	scenario('query values of the URL show up nowhere', { defaults: TRACE, url: (srv) => `${srv.url}?token=${SECRET}&plain=1` }, async ({ srv, br }) => {
		assert.equal(srv.exchanges[0].query.get('token'), SECRET);
		await provoke(srv, br, (e) => e.query.get('token'));
		assertNoSecretAnywhere(br, SECRET);
	});

	scenario('userinfo of the URL is sent as Basic and shows up nowhere', { defaults: TRACE, url: (srv) => srv.url.replace('://', `://user:${SECRET}@`) }, async ({ srv, br }) => {
		assert.equal(srv.exchanges[0].headers.authorization, `Basic ${Buffer.from(`user:${SECRET}`).toString('base64')}`);
		await provoke(srv, br, () => SECRET);
		assertNoSecretAnywhere(br, SECRET);
	});

	scenario('session ids show up nowhere', { defaults: TRACE }, async ({ srv, br }) => {
		await srv.standing();
		await provoke(srv, br, (e) => e.headers['mcp-session-id'] ?? 'none');
		for (const id of new Set(srv.exchanges.map((e) => e.headers['mcp-session-id']).filter(Boolean))) assertNoSecretAnywhere(br, id);
	});

	scenario('the session id in an SSE endpoint shows up nowhere', { defaults: TRACE, server: { mode: 'sse' } }, async ({ srv, br }) => {
		await br.call('echo');
		const { id } = srv.session;
		srv.first('tools/call:append', (e) => e.reply(500, {}, e.target));
		await br.call('append');
		assertNoSecretAnywhere(br, id);
	});

	scenario('cookies show up nowhere', { defaults: TRACE }, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.result({ content: [] }, { headers: { 'Set-Cookie': `pin=${SECRET}; Path=/` } }));
		await br.call('echo');
		await provoke(srv, br, (e) => e.headers.cookie ?? SECRET);
		assertNoSecretAnywhere(br, SECRET);
	});

	scenario('cookies that change with every answer do not uncover those that stay, nor the session id', { defaults: TRACE }, async ({ srv, br }) => {
		let n = 0;
		const set = srv.when((e) => e.kind === 'tools/call' && srv.sessions.has(e.headers['mcp-session-id']), (e) => e.result({ content: [] }, { headers: { 'Set-Cookie': ++n === 41 ? `pin=${SECRET}; Path=/` : `balance=${n}-${'x'.repeat(20)}; Path=/` } }));
		while (set.hits.length < 40) await br.call('echo');
		srv.forget();
		while (set.hits.length < 140) await br.call('echo');
		srv.clear();
		assert.match(srv.seen('tools/call').at(-1).headers.cookie, new RegExp(SECRET));
		for (const said of [SECRET, srv.session.id]) await br.call('echo', { text: said });
		for (const secret of [SECRET, srv.session.id]) assertNoSecret(br.stderr, secret, 'stderr');
	});

	const kept = scratchDirectory(), keys = path.join(kept, 'keys');
	process.on('exit', () => fs.rmSync(kept, { recursive: true, force: true }));
	scenario('many sessions do not uncover what is in use', { defaults: TRACE, args: ['--header-file', keys], before: () => fs.writeFileSync(keys, 'X-Key: the one before\n') }, async ({ srv, br }) => {
		const lose = async (times) => {
			for (let i = 0; i < times; i++) { srv.forget(); await br.call('echo'); }
		};
		await lose(40);
		fs.writeFileSync(keys, `X-Key: ${SECRET}\n`);
		srv.first('tools/call:append', (e) => e.reply(401));
		await br.call('append');
		await br.call('echo');
		assert.equal(srv.seen('tools/call').at(-1).headers['x-key'], SECRET);
		await lose(80);
		srv.first('tools/call:append', (e) => e.error(-32603, `failed with ${e.headers['x-key']} and ${e.headers['mcp-session-id']}`));
		await br.call('append');
		for (const secret of [SECRET, srv.session.id]) assertNoSecret(br.stderr, secret, 'stderr');
	});

	scenario('a secret split across writes shows up nowhere', { defaults: TRACE, args: ['-H', `X-Api-Key: ${SECRET}`] }, async ({ srv, br }) => {
		srv.first('tools/call:append', async (e) => {
			const body = `{"oops":"${SECRET}"}`;
			e.write(`HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`);
			for (const c of body) { e.write(c); await new Promise(setImmediate); }
			e.done();
		});
		await br.call('append');
		srv.first('tools/call:append', async (e) => {
			const out = e.stream();
			for (const c of `data: {"nonsense ${SECRET}\n\n`) { out.raw(c); await new Promise(setImmediate); }
			out.end();
		});
		await br.call('append');
		assertNoSecretAnywhere(br, SECRET);
	});

	const UNREGISTERED = {
		'a Bearer credential': ['Authorization: Bearer Zx81kQw9Lm22Vb7Tn0PqRs', 'Zx81kQw9Lm22Vb7Tn0PqRs'],
		'a JWT': ['got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P', 'eyJzdWIiOiIxMjM0NTY3ODkwIn0'],
		'a GitHub token': ['use ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8', 'A1b2C3d4E5f6G7h8I9j0'],
		'an API key': ['key sk-proj-A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6', 'A1b2C3d4E5f6G7h8I9j0'],
		'a token= pair': ['see /x?access_token=Zx81kQw9Lm22Vb7Tn0PqRs&y=1', 'Zx81kQw9Lm22Vb7Tn0PqRs'],
	};
	for (const [what, [text, secret]] of Object.entries(UNREGISTERED))
		scenario(`${what} that nobody registered is caught by its shape`, { defaults: TRACE }, async ({ srv, br }) => {
			srv.first('tools/call:append', (e) => e.reply(500, { 'Content-Type': 'text/plain' }, text));
			await br.call('append');
			await br.call('echo', { text });
			assert.ok(!br.stderr.includes(secret), br.stderr.slice(Math.max(0, br.stderr.indexOf(secret) - 100), br.stderr.indexOf(secret) + 40));
		});

	scenario('a redacted value keeps a fingerprint by which two lines can be compared', { defaults: TRACE }, async ({ br }) => {
		const values = ['Zx81kQw9Lm22Vb7Tn0PqRs', 'Zx81kQw9Lm22Vb7Tn0PqRs', 'Yy81kQw9Lm22Vb7Tn0PqRt'];
		for (const v of values) await br.call('echo', { text: `marker Bearer ${v}` });
		const marks = [...br.stderr.matchAll(/marker Bearer ([^\s"\\]+)/g)].map((m) => m[1]);
		assert.ok(marks.length >= 3, br.stderr.slice(-400));
		assert.equal(new Set(marks).size, 2, marks.join(' '));
	});
});

describe('the process', { concurrency: 4 }, () => {
	scenario('scrubs its arguments', { args: ['-H', `Authorization: Bearer ${SECRET}`], url: (srv) => `${srv.url}?token=${SECRET}` }, async ({ br }) => {
		await br.call('echo');
		assert.ok(!fs.readFileSync(`/proc/${br.pid}/cmdline`, 'latin1').includes(SECRET));
	});

	scenario('leaves no core', {}, async ({ br }) => {
		await br.call('echo');
		assert.match(fs.readFileSync(`/proc/${br.pid}/limits`, 'utf8'), /Max core file size\s+0\s+0/);
	});

	alone('a secret in argv is not repeated by the warning about it', async () => {
		const { stderr } = await run(['http://127.0.0.1:9/mcp', '-H', `Authorization: Bearer ${SECRET}`, '--log-level', 'warn']);
		assertNoSecret(stderr, SECRET, 'stderr');
	});

	scenario('a usage error does not repeat the secret', { server: false, connect: false, url: () => 'http://127.0.0.1:9/mcp' }, async () => {
		for (const argv of [['https://h/x', '-H', `Authorization Bearer ${SECRET}`], [`ftp://user:${SECRET}@h/x`], [`https://h/x?token=${SECRET}`, '--no-such'], ['https://h/x', `--header=Bad Name: ${SECRET}`]]) {
			const { code, stderr } = await run(argv);
			assert.equal(code, 2, stderr);
			assertNoSecret(stderr, SECRET, 'stderr');
		}
	});
});

describe('the origin', { concurrency: 4 }, () => {
	for (const status of [307, 308])
		scenario(`${status} within the origin is followed with method, body and headers`, { args: ['-H', `Authorization: Bearer ${SECRET}`] }, async ({ srv, br }) => {
			srv.when((e) => e.kind === 'tools/call' && e.path === '/mcp', (e) => e.reply(status, { Location: '/moved?x=1' }));
			srv.when((e) => e.path === '/moved', (e) => { e.path = '/mcp'; srv.serve(e); });
			assertText(await br.call('echo', { text: 'moved' }), 'moved');
			const [, moved] = srv.seen('tools/call');
			assert.equal(moved.method, 'POST');
			assert.equal(moved.headers.authorization, `Bearer ${SECRET}`);
			assert.equal(moved.headers['mcp-session-id'], srv.session.id);
		});

	for (const [what, target] of Object.entries({ 'another port': (o) => `${o.origin}/mcp`, 'another host': (o) => `http://localhost:${o.port}/mcp`, 'a URL without scheme': (o) => `//127.0.0.1:${o.port}/mcp` }))
		scenario(`307 to ${what} is an error; nothing goes there, and its name stands in the log alone`, { args: ['-H', `Authorization: Bearer ${SECRET}`, '--tool-errors', 'protocol'] }, async ({ srv, br, server }) => {
			const other = await server();
			srv.when('tools/call', (e) => e.reply(307, { Location: target(other) }));
			const answer = await br.call('append');
			assertOwnError(answer);
			assert.equal(other.exchanges.length, 0);
			assert.ok(!answer.raw.includes(String(other.port)));
			await br.logged(new RegExp(String(other.port)));
		});

	for (const status of [301, 302, 303])
		scenario(`${status} is an error and is not followed; the log says where it leads`, { args: ['--tool-errors', 'protocol'] }, async ({ srv, br }) => {
			srv.when('tools/call', (e) => e.reply(status, { Location: '/moved?key=0123456789' }));
			const answer = await br.call('append');
			assert.match(assertOwnError(answer).message, /has moved/);
			assert.ok(!answer.raw.includes('/moved'));
			await br.logged(new RegExp(`redirect.* another path of .*${srv.port}$`, 'm'));
			assert.ok(!srv.exchanges.some((e) => e.path.startsWith('/moved')));
		});

	scenario('a redirect in a circle ends', {}, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.reply(307, { Location: '/mcp' }));
		assertFailure(await br.call('append'));
		assert.ok(srv.seen('tools/call').length < 30);
	});

	scenario('the standing stream is not followed elsewhere either', { args: ['-H', `Authorization: Bearer ${SECRET}`] }, async ({ srv, br, server }) => {
		const other = await server();
		srv.when('GET', (e) => e.reply(307, { Location: `${other.origin}/mcp` }));
		await srv.sees('GET');
		await br.call('echo');
		assert.equal(other.exchanges.length, 0);
	});
});

describe('TLS, proxies and sockets', { concurrency: 2 }, () => {
	const scratch = scratchDirectory();
	const made = makeCertificates(scratch);
	const read = ({ cert, key }) => ({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
	const secure = { tls: read(made.server) };
	const mutual = { tls: { ...read(made.server), ca: fs.readFileSync(made.ca), requestCert: true, rejectUnauthorized: true } };
	process.on('exit', () => fs.rmSync(scratch, { recursive: true, force: true }));

	scenario('--cacert trusts a private authority', { server: secure, args: ['--cacert', made.ca] }, async ({ br }) => {
		assertText(await br.call('echo', { text: 'tls' }), 'tls');
	});
	for (const name of ['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS'])
		scenario(`${name} trusts a private authority`, { server: secure, env: { [name]: made.ca } }, async ({ br }) => {
			assertText(await br.call('echo', { text: 'tls' }), 'tls');
		});
	scenario('an authority nobody trusts is refused, and the process lives', { server: secure, connect: false, args: ['--max-retries', '1', '-H', `X-Key: ${SECRET}`] }, async ({ srv, br }) => {
		assertFailure(await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }));
		assert.equal(srv.exchanges.length, 0);
		await br.logged(/certificate|TLS|SSL/i);
	});
	scenario('a certificate for another name is refused', { server: { ...secure, host: '127.0.0.2' }, connect: false, args: ['--cacert', made.ca, '--max-retries', '0'] }, async ({ srv, br }) => {
		assertFailure(await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }));
		assert.equal(srv.exchanges.length, 0);
		await br.logged(/the certificate is for another name/);
	});
	scenario('--cert and --key show who we are', { server: mutual, args: ['--cacert', made.ca, '--cert', made.client.cert, '--key', made.client.key] }, async ({ br }) => {
		assertText(await br.call('echo', { text: 'mutual' }), 'mutual');
	});
	for (const [version, reason] of [['TLSv1.3', /connection lost/], ['TLSv1.2', /connection lost .*handshake failure/]]) scenario(`a server that wants a certificate refuses us without one, ${version}`, { server: { tls: { ...mutual.tls, maxVersion: version } }, connect: false, args: ['--cacert', made.ca, '--max-retries', '1'] }, async ({ srv, br }) => {
		assertFailure(await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }));
		assert.equal(srv.exchanges.length, 0);
		await br.logged(reason);
	});
	const sealed = path.join(scratch, 'sealed.key');
	execFileSync('openssl', ['ec', '-in', made.client.key, '-aes128', '-passout', 'pass:word', '-out', sealed], { stdio: 'pipe' });
	scenario('a key with a password asks nobody, and every request is answered', { server: mutual, connect: false, args: ['--cacert', made.ca, '--cert', made.client.cert, '--key', sealed, '--max-retries', '1'] }, async ({ br }) => {
		assertFailure(await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }));
		assert.doesNotMatch(br.stderr, /pass ?phrase/i);
	});

	scenario('--unix-socket reaches a server without a port', { server: { socketPath: path.join(scratch, 'server.sock') }, url: () => 'http://localhost/mcp', args: ['--unix-socket', path.join(scratch, 'server.sock')] }, async ({ br }) => {
		assertText(await br.call('echo', { text: 'unix' }), 'unix');
	});

	for (const [name, socketPath] of [['certificate is shown'], ['unix socket is taken', path.join(scratch, 'asks.sock')]]) {
		const secretFile = path.join(scratch, 'client-secret');
		const start = async (n) => {
			fs.writeFileSync(secretFile, 'client-secret-0123456789\n', { mode: 0o600 });
			const socket = socketPath && `${socketPath}${n}`, srv = await Server.start(socket ? { socketPath: socket } : mutual);
			const args = ['--cacert', made.ca, ...(socket ? ['--unix-socket', socket] : ['--cert', made.client.cert, '--key', made.client.key]),
				'--client-credentials', '--client-id', 'robot', '--client-secret-file', secretFile];
			const origin = socket ? 'http://localhost' : srv.origin;
			return { srv, origin, args, br: new Bridge([`${origin}/mcp`, ...QUICK, ...args]) };
		};
		const challenge = (srv, origin, as) => {
			srv.when((e) => e.path === '/prm', (e) => e.json({ resource: `${origin}/mcp`, authorization_servers: [as] }));
			srv.when((e) => e.path === '/mcp' && !e.headers.authorization, (e) => e.reply(401, { 'WWW-Authenticate': `Bearer resource_metadata="${origin}/prm"` }));
		};
		const metadata = (origin) => ({ issuer: origin, token_endpoint: `${origin}/token`, token_endpoint_auth_methods_supported: ['client_secret_basic'] });

		it(`the server's own ${name} for its metadata, and for no other origin`, { timeout: 60000 }, async () => {
			const { srv, origin, args, br } = await start(1);
			const as = await AuthServer.start({ tls: { ...read(made.server), ca: fs.readFileSync(made.ca), requestCert: true, rejectUnauthorized: false } });
			try {
				challenge(srv, origin, as.issuer);
				await br.connect();
				assertText(await br.call('echo', { text: 'in' }), 'in');
				assert.ok(as.grants('client_credentials').length === 1);
				for (const r of as.requests) assert.equal(r.certificate?.CN, undefined, r.path);
				await br.finish();
				const found = await run(['doctor', `${origin}/mcp`, '--json', ...args]);
				assert.equal(JSON.parse(found.stdout).steps.find((s) => s.step === 'metadata')?.verdict, 'ok', found.stdout);
				for (const r of as.requests) assert.equal(r.certificate?.CN, undefined, r.path);
			} finally {
				await br.destroy();
				await srv.stop();
				await as.stop();
			}
		});

		it(`the server's own ${name} for tokens that it gives itself`, { timeout: 60000 }, async () => {
			const { srv, origin, br } = await start(2);
			try {
				challenge(srv, origin, origin);
				srv.when((e) => e.path === '/.well-known/oauth-authorization-server', (e) => e.json(metadata(origin)));
				srv.when((e) => e.path === '/token', (e) => e.json({ access_token: SECRET, token_type: 'Bearer', expires_in: 3600 }));
				await br.connect();
				assertText(await br.call('echo', { text: 'in' }), 'in');
				await br.finish();
			} finally {
				await br.destroy();
				await srv.stop();
			}
		});
	}

	scenario('--ipv4 reaches localhost', { url: (srv) => srv.url.replace('127.0.0.1', 'localhost'), args: ['--ipv4'] }, async ({ br }) => {
		assertText(await br.call('echo', { text: 'four' }), 'four');
	});

	/** A proxy that does absolute-form and CONNECT, and notes what it was told. */
	async function proxy(t, trusted) {
		const seen = [];
		const take = (c) => {
			c.on('error', () => {});
			c.once('data', (d) => {
				const text = d.toString('latin1');
				seen.push(text);
				const [, method, target] = /^(\S+) (\S+)/.exec(text);
				const { hostname, port } = method === 'CONNECT' ? new URL(`http://${target}`) : new URL(target);
				const up = net.connect({ host: hostname, port: Number(port) }, () => {
					if (method === 'CONNECT') c.write('HTTP/1.1 200 OK\r\n\r\n');
					else up.write(Buffer.from(text.replace(/^(\S+) http:\/\/[^/]+/, '$1 '), 'latin1'));
					c.on('data', (x) => up.write(method === 'CONNECT' ? x : Buffer.from(x.toString('latin1').replace(/^([A-Z]+) http:\/\/[^/]+/, '$1 '), 'latin1')));
					up.pipe(c);
				});
				up.on('error', () => c.destroy());
				c.on('close', () => up.destroy());
			});
		};
		const p = trusted ? tls.createServer(trusted, take) : net.createServer(take);
		await new Promise((ok) => p.listen(0, '127.0.0.1', ok));
		t.after(() => p.close());
		return { port: p.address().port, seen };
	}

	scenario('--proxy is used, its credentials are sent to it alone and show up nowhere', { server: secure, connect: false }, async ({ srv, bridge, t }) => {
		const { port, seen } = await proxy(t);
		const br = bridge([srv.url, ...TRACE, '--cacert', made.ca, '--proxy', `http://user:${SECRET}@127.0.0.1:${port}`]);
		await br.connect();
		assertText(await br.call('echo', { text: 'proxied' }), 'proxied');
		assert.match(seen[0], /^CONNECT 127\.0\.0\.1:/);
		assert.ok(seen[0].includes(Buffer.from(`user:${SECRET}`).toString('base64')));
		assert.ok(srv.exchanges.every((e) => !JSON.stringify(e.headers).includes(Buffer.from(`user:${SECRET}`).toString('base64'))));
		assertNoSecretAnywhere(br, SECRET);
		br.eof();
		await br.exited();
	});

	for (const target of ['https', 'http'])
		for (const [name, setup] of Object.entries({ '--cacert': { args: ['--cacert', made.ca] }, SSL_CERT_FILE: { env: { SSL_CERT_FILE: made.ca } }, NODE_EXTRA_CA_CERTS: { env: { NODE_EXTRA_CA_CERTS: made.ca } } }))
			scenario(`${name} trusts a proxy that is spoken to by TLS, too, on the way to ${target}`, { server: target === 'https' ? secure : {}, connect: false }, async ({ srv, bridge, t }) => {
				const { port, seen } = await proxy(t, secure.tls);
				const br = bridge([srv.url, ...QUICK, '--hold-time', '500ms', '--proxy', `https://127.0.0.1:${port}`, ...setup.args ?? []], { env: setup.env });
				await br.connect();
				assert.ok(seen.length > 0);
			});

	scenario('the proxy environment is used, and no_proxy heeded; loopback goes direct where nobody says otherwise', { server: secure, connect: false }, async ({ srv, bridge, t }) => {
		const { port, seen } = await proxy(t);
		const one = bridge([srv.url, ...QUICK, '--cacert', made.ca], { env: { https_proxy: `http://127.0.0.1:${port}`, no_proxy: 'example.org' } });
		await one.connect();
		assert.ok(seen.length > 0);
		const n = seen.length;
		const two = bridge([srv.url, ...QUICK, '--cacert', made.ca], { env: { https_proxy: `http://127.0.0.1:${port}`, no_proxy: '127.0.0.1' } });
		await two.connect();
		const three = bridge([srv.url, ...QUICK, '--cacert', made.ca], { env: { https_proxy: `http://127.0.0.1:${port}` } });
		await three.connect();
		assert.equal(seen.length, n);
	});

	scenario('a proxy that is away is an outage like any other', { server: secure, connect: false, args: ['--proxy', 'http://127.0.0.1:1', '--max-retries', '1'] }, async ({ br }) => {
		assertOwnError(await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }));
		await until(() => br.alive, 10, 'life');
	});

	for (const status of [407, 403, 503])
		scenario(`a proxy that answers ${status} is told as such, in the error and in the log`, { server: secure, connect: false }, async ({ srv, bridge, t }) => {
			const p = net.createServer((c) => c.on('error', () => {}).once('data', () => c.end(`HTTP/1.1 ${status} No\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 5\r\n\r\n<no/>`)));
			await new Promise((ok) => p.listen(0, '127.0.0.1', ok));
			t.after(() => p.close());
			const br = bridge([srv.url, ...QUICK, '--cacert', made.ca, '--hold-time', '200ms', '--proxy', `http://127.0.0.1:${p.address().port}`]);
			const { message } = assertOwnError(await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }), 'upstream_unavailable');
			assert.match(message, new RegExp(`the proxy answered HTTP ${status}`));
			assert.match(br.stderr, new RegExp(`connection lost \\(.*the proxy answered HTTP ${status}`));
		});

	scenario('an idle connection that the server closes as TLS wants it is not used again: a call with effects is not lost on it', { server: { ...secure, standing: false }, args: ['--cacert', made.ca] }, async ({ srv, br }) => {
		for (let i = 1; i <= 3; i++) {
			assertText(await br.call('append'), String(i));
			for (const c of srv.connections) c.socket.end();
			await until(() => srv.connections.size === 0, 4000, 'the other end of the connections');
		}
	});

	scenario('connections are kept on TLS', { server: { ...secure, standing: false }, args: ['--cacert', made.ca] }, async ({ srv, br }) => {
		for (let i = 1; i <= 10; i++) assertText(await br.call('append'), String(i));
		assert.ok(srv.accepted <= 2, `${srv.accepted} connections`);
	});

	const trust = (name, text) => { const file = path.join(scratch, name); fs.writeFileSync(`${file}.new`, text); fs.renameSync(`${file}.new`, file); };
	const elsewhere = scratchDirectory(), other = makeCertificates(elsewhere).ca;
	fs.renameSync(other, path.join(scratch, 'other.pem'));
	fs.rmSync(elsewhere, { recursive: true });
	for (const name of ['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS']) scenario(`a file of authorities that changes counts for the next connection, ${name}`, { server: secure, env: { [name]: path.join(scratch, name) }, before: () => trust(name, fs.readFileSync(made.ca)) }, async ({ srv, br }) => {
		await srv.standing();
		trust(name, '');
		srv.cut();
		assertResult(await br.request('tools/list')); /* what can not be read is left as it was */
		await until(() => srv.seen('GET').length === 2, 8000, 'the stream again');
		trust(name, fs.readFileSync(path.join(scratch, 'other.pem')));
		srv.cut();
		await br.logged(/certificate/i);
		const call = br.request('tools/list');
		trust(name, fs.readFileSync(made.ca));
		assertResult(await call);
	});

	scenario('an authority that is taken away is trusted no more, nor where a connection could go on from one before', { server: secure, env: { SSL_CERT_FILE: path.join(scratch, 'away.pem') }, before: () => trust('away.pem', fs.readFileSync(made.ca)) }, async ({ srv, br }) => {
		await srv.standing();
		const known = srv.accepted;
		trust('away.pem', fs.readFileSync(path.join(scratch, 'other.pem')));
		srv.cut();
		await br.logged(/connection lost .*certificate/);
		assert.equal(srv.accepted, known);
		trust('away.pem', fs.readFileSync(made.ca));
		assertResult(await br.request('tools/list'));
	});
	const hashed = (file) => `${execFileSync('openssl', ['x509', '-subject_hash', '-noout', '-in', file]).toString().trim()}.0`;
	/* The system's bundle is another one in a mount namespace, where nobody may read what is not allowed. */
	const usual = '/etc/ssl/certs/ca-certificates.crt', ours = path.join(scratch, 'usual.pem');
	const inside = ['-rm', 'sh', '-c', `mount --bind ${ours} ${usual} && exec setpriv --inh-caps=-all --bounding-set=-all "$@"`, 'sh'];
	fs.copyFileSync(made.ca, ours);
	const possible = spawnSync('unshare', [...inside, 'true'], { stdio: 'ignore' }).status === 0;
	it("the system's certificates, once not to be read, are read for the next connection", { timeout: 60000, skip: !possible }, async () => {
		const known = path.join(scratch, 'known');
		fs.mkdirSync(known);
		const first = makeCertificates(known), srv = await Server.start({ tls: read(first.server) });
		fs.renameSync(first.ca, path.join(known, hashed(first.ca)));
		const br = new Bridge([...inside, BINARY, srv.url, ...QUICK], { command: 'unshare', env: { SSL_CERT_DIR: known } });
		try {
			await br.connect();
			await srv.standing();
			fs.chmodSync(ours, 0);
			Object.assign(srv.options, secure);
			await srv.restart();
			await br.logged(/connection lost .*certificate/);
			fs.chmodSync(ours, 0o644);
			assertResult(await br.request('tools/list'));
			await br.finish();
		} finally {
			await br.destroy();
			await srv.stop();
		}
	});

	const renewed = path.join(scratch, 'renewed');
	scenario('an authority that is renewed within its file, in SSL_CERT_DIR, is known to a later connection', { server: secure, env: { SSL_CERT_DIR: `${scratch}/none:${renewed}` }, before: () => {
		fs.mkdirSync(renewed);
		fs.copyFileSync(made.ca, path.join(renewed, hashed(made.ca)));
	} }, async ({ srv, br }) => {
		await srv.standing();
		const anew = makeCertificates(renewed);
		Object.assign(srv.options, { tls: read(anew.server) });
		await srv.restart();
		await br.logged(/connection lost .*certificate/);
		fs.copyFileSync(anew.ca, path.join(renewed, hashed(anew.ca)));
		assertResult(await br.request('tools/list'));
	});

	const bundle = path.join(scratch, 'bundle.pem');
	const authority = (n) => execFileSync('openssl', ['req', '-x509', '-key', 'ca.key', '-days', '2', '-subj', `/CN=Authority ${n}`], { cwd: scratch, stdio: 'pipe' });
	fs.writeFileSync(bundle, [fs.readFileSync(made.ca), ...Array.from({ length: 100 }, (_, n) => authority(n))].join('\n'));
	const foreign = path.join(scratch, 'foreign.pem'), beside = path.join(scratch, 'beside');
	fs.writeFileSync(foreign, authority('foreign'));
	fs.mkdirSync(beside);
	fs.copyFileSync(made.ca, path.join(beside, hashed(made.ca)));
	scenario('SSL_CERT_DIR counts beside SSL_CERT_FILE', { server: secure, env: { SSL_CERT_FILE: foreign, SSL_CERT_DIR: beside } }, async ({ br }) => {
		assertResult(await br.request('tools/list'));
	});
	scenario('SSL_CERT_DIR does not count beside --cacert', { server: secure, env: { SSL_CERT_DIR: beside }, args: ['--cacert', foreign, '--max-retries', '0'], connect: false }, async ({ br }) => {
		assertFailure(await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }));
		assert.match(br.stderr, /certificate/);
	});

	scenario('a hundred authorities are held once, not for each connection', { server: secure, env: { SSL_CERT_FILE: bundle } }, async ({ srv, br }) => {
		await srv.standing();
		await br.call('echo');
		const held = [], calls = [], before = br.status('VmRSS');
		srv.when('tools/call', (e) => { held.push(e); });
		for (let i = 0; i < 16; i++) calls.push(br.call('echo', { text: String(i) }));
		await until(() => held.length === 16, 10000, 'sixteen calls at the server');
		const grown = br.status('VmRSS') - before;
		for (const e of held) e.result({ content: [] });
		for (const c of calls) assertResult(await c);
		assert.ok(grown < (SANITIZED ? 20 : 4) * 1024, `sixteen connections took ${grown} kB`);
	});

	scenario('a TLS line that is cut is made again', { server: secure, args: ['--cacert', made.ca] }, async ({ srv, br }) => {
		await srv.standing();
		srv.cut();
		assertResult(await br.request('tools/list'));
		assert.ok(srv instanceof Server);
	});
});

/** A scenario that needs no server. */
function alone(name, body) { scenario(name, { server: false, connect: false, url: () => 'http://127.0.0.1:9/mcp' }, body); }
