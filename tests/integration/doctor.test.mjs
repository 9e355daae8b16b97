// mcp-holdfast doctor: every row, in health and made to fail by a server (or a
// network) that misbehaves in exactly that way.
import fs from 'node:fs';
import path from 'node:path';
import { Bridge, describe, it, assert, run, Server, scratchDirectory, ROOT, SLOW } from '../lib/scenario.mjs';
import { makeCertificates } from '../lib/certificates.mjs';

/** Runs the doctor; gives its steps by name, its exit status and all it said. */
async function doctor(url, { args = [], env = {}, scratch = scratchDirectory(), ms } = {}) {
	const r = await run(['doctor', url, '--json', ...args], { env, scratch, ms });
	const report = JSON.parse(r.stdout);
	assert.equal(report.exit, r.code);
	assert.equal(report.ok, r.code === 0);
	const steps = Object.fromEntries(report.steps.map((s) => [s.step, s]));
	for (const s of report.steps) if (s.verdict === 'fail') assert.ok(s.cause || s.try || s.text, s.step);
	return { code: r.code, steps, report, out: r.stdout + r.stderr };
}
/** A server for one test. */
async function withServer(options, body) {
	const srv = await Server.start({ version: '2025-11-25', ...options });
	try { return await body(srv); } finally { await srv.stop(); }
}
const test = (name, options, body) => it(name, { timeout: 60000 }, () => withServer(options, body));
const failed = ({ steps, code }, step, exit, cause) => {
	assert.equal(steps[step]?.verdict, 'fail', JSON.stringify(steps, null, 1));
	assert.equal(code, exit);
	if (cause) assert.match(`${steps[step].cause} ${steps[step].try}`, cause);
};

describe('doctor finds a healthy server healthy', () => {
	test('Streamable HTTP with JSON answers', {}, async (srv) => {
		const { code, steps } = await doctor(srv.url);
		assert.equal(code, 0);
		for (const s of ['resolve', 'IPv4', 'POST', 'HTTP', 'authorization', 'session', 'stream', 'ping', 'end']) assert.equal(steps[s].verdict, 'ok', s);
		assert.match(steps.HTTP.text, /protocol 2025-11-25, server scripted/);
		assert.equal(srv.sessions.size, 0, 'a session was left behind');
	});
	test('Streamable HTTP with streams', { respond: 'sse', ids: true }, async (srv) => {
		const { code, steps } = await doctor(srv.url);
		assert.equal(code, 0);
		assert.equal(steps.buffering.verdict, 'ok');
	});
	test('HTTP with server-sent events', { mode: 'sse' }, async (srv) => {
		const { code, steps } = await doctor(srv.url);
		assert.equal(code, 0);
		for (const s of ['HTTP+SSE', 'session', 'ping', 'buffering']) assert.equal(steps[s].verdict, 'ok', s);
	});
	test('a server without a standing stream', { standing: false }, async (srv) => {
		const { code, steps } = await doctor(srv.url);
		assert.equal(code, 0);
		assert.equal(steps.stream.verdict, 'none');
	});
	test('over TLS, with the certificate\'s issuer and end', {}, async () => {
		const scratch = scratchDirectory(), pki = makeCertificates(scratch);
		await withServer({ tls: { cert: fs.readFileSync(pki.server.cert), key: fs.readFileSync(pki.server.key) } }, async (srv) => {
			const { code, steps } = await doctor(srv.url, { args: ['--cacert', pki.ca], scratch });
			assert.equal(code, 0);
			assert.match(steps.TLS.text, /^TLSv1\.[23].*; certificate by Test authority, [12] days left$/);
			assert.equal(steps.TLS.verdict, 'warn'); // it ends soon
		});
	});
	test('through a unix socket', { socketPath: path.join(scratchDirectory(), 's') }, async (srv) => {
		const { code } = await doctor('http://localhost/mcp', { args: ['--unix-socket', srv.options.socketPath] });
		assert.equal(code, 0);
	});
	test('and says it to a person in lines', {}, async (srv) => {
		const r = await run(['doctor', srv.url]);
		assert.equal(r.code, 0);
		assert.match(r.stdout, /^ok {4}resolve .*\n/m);
		assert.match(r.stdout, /A bridge can work with this server\.\n$/);
		assert.doesNotMatch(r.stdout, /\x1b/);
	});
	test('and shows no key that stands in the path, or in that of a redirect', {}, async (srv) => {
		const key = 'k3J9xQ2mZ7vB5nR8tL4w', other = 'qT7vK2pX9mZ4wB8nR1sL';
		srv.when((ex) => ex.path === `/u/${key}/mcp`, (ex) => ex.reply(307, { Location: `/to/${other}?key=${other}` }));
		srv.when((ex) => ex.path === `/to/${other}`, (ex) => ex.reply(307, { Location: '/mcp' }));
		for (const args of [[], ['--json']]) {
			const r = await run(['doctor', `${srv.origin}/u/${key}/mcp`, ...args]);
			assert.equal(r.code, 0, r.stdout);
			assert.match(r.stdout, /HTTP 307 to \/to\/\[redacted/);
			assert.ok(args.length || /^http:\S+\/u\/\[redacted:\w+\]\/mcp$/m.test(r.stdout), r.stdout);
			for (const secret of [key, other]) assert.ok(!(r.stdout + r.stderr).includes(secret.slice(0, 10)), r.stdout);
		}
	});
});

describe('doctor says what is wrong', () => {
	it('resolve: a name that does not exist', async () => {
		failed(await doctor('https://nowhere.invalid/mcp'), 'resolve', 3);
	});
	it('IPv4: nothing listens', async () => {
		const srv = await Server.start({});
		await srv.stop();
		failed(await doctor(srv.url), 'IPv4', 4, /server is down/);
	});
	it('IPv6: nothing listens', async () => {
		const srv = await Server.start({});
		await srv.stop();
		failed(await doctor(`http://[::1]:${srv.port}/mcp`), 'IPv6', 4);
	});
	test('proxy: one that is not there', {}, async (srv) => {
		const closed = await Server.start({});
		await closed.stop();
		const r = await doctor(srv.url, { args: ['--proxy', `http://user:proxypassword77@127.0.0.1:${closed.port}`] });
		failed(r, 'proxy', 5, /no_proxy/);
		assert.ok(!r.out.includes('proxypassword77'));
	});
	it('TLS: an authority that nobody trusts', async () => {
		const scratch = scratchDirectory(), pki = makeCertificates(scratch);
		await withServer({ tls: { cert: fs.readFileSync(pki.server.cert), key: fs.readFileSync(pki.server.key) } }, async (srv) => {
			failed(await doctor(srv.url, { scratch }), 'TLS', 6, /Test authority.*--cacert/);
		});
	});
	it('TLS: a client certificate, or authorities, that can not be used', async () => {
		const scratch = scratchDirectory(), pki = makeCertificates(scratch), args = ['--cacert', pki.ca, '--cert', pki.client.cert, '--key', pki.server.key];
		await withServer({ tls: { cert: fs.readFileSync(pki.server.cert), key: fs.readFileSync(pki.server.key) } }, async (srv) => {
			failed(await doctor(srv.url, { args, scratch }), 'TLS', 6, /--cert and --key/);
			failed(await doctor(srv.url, { args: ['--cacert', path.join(ROOT, 'README.md')] }), 'TLS', 6, /--cacert, SSL_CERT_FILE/);
		});
	});
	test('TLS: a port that speaks none', {}, async (srv) => {
		failed(await doctor(srv.url.replace('http:', 'https:'), { args: ['--connect-timeout', '1500ms'] }), 'TLS', 6, /TLS port/);
	});
	test('redirect: within the origin is followed and told', {}, async (srv) => {
		srv.when((ex) => ex.path === '/old', (ex) => ex.reply(308, { Location: '/mcp' }));
		const { code, steps } = await doctor(`${srv.origin}/old`);
		assert.equal(code, 0);
		assert.equal(steps.redirect.verdict, 'warn');
	});
	test('redirect: to another origin is not followed', {}, async (srv) => {
		const other = await Server.start({});
		srv.when(() => true, (ex) => ex.reply(307, { Location: other.url }));
		const r = await doctor(srv.url, { args: ['--header', 'Authorization: Bearer tok-verysecretvalue123'] });
		await other.stop();
		assert.equal(r.code, 7);
		assert.equal(other.exchanges.length, 0);
		assert.ok(!r.out.includes('verysecret'));
	});
	test('redirect: in a circle', {}, async (srv) => {
		srv.when(() => true, (ex) => ex.reply(307, { Location: '/mcp' }));
		const r = await doctor(srv.url);
		failed(r, 'redirect', 7, /circle/);
		assert.equal(r.steps.POST, undefined);
	});
	test('POST: the connection is reset', {}, async (srv) => {
		srv.when(() => true, (ex) => ex.reset());
		failed(await doctor(srv.url), 'POST', 7);
	});
	test('POST: only server/discover is dropped, which an old server does not know', {}, async (srv) => {
		srv.when('server/discover', (ex) => ex.reset());
		const { code, steps } = await doctor(srv.url);
		assert.equal(code, 0);
		assert.match(steps['2026-07-28'].text, /not spoken/);
		assert.equal(steps.POST.verdict, 'ok');
	});
	test('HTTP: nothing at this path', {}, async (srv) => {
		const { code, steps } = await doctor(`${srv.origin}/wrong`);
		assert.equal(code, 7);
		assert.match(steps['HTTP+SSE'].cause, /nothing is at this path/);
	});
	test('HTTP: a web page', {}, async (srv) => {
		srv.when(() => true, (ex) => ex.reply(200, { 'Content-Type': 'text/html' }, '<html>Log in to the network</html>'));
		const { code, steps } = await doctor(srv.url);
		assert.equal(code, 7);
		assert.match(steps['HTTP+SSE'].cause, /no MCP server/);
	});
	test('HTTP: a gateway\'s error', {}, async (srv) => {
		srv.when(() => true, (ex) => ex.reply(502));
		const { code, steps } = await doctor(srv.url, { args: ['--transport', 'http'] });
		assert.equal(code, 7);
		assert.match(steps.HTTP.cause, /gateway/);
	});
	test('HTTP: the answer begins, and is held back', {}, async (srv) => {
		srv.when('initialize', (ex) => { ex.stream(); });
		const r = await doctor(srv.url, { ms: 20000 });
		failed(r, 'server', 10, /buffering/);
		assert.notEqual(r.steps['HTTP+SSE'].verdict, 'fail');
	});
	test('HTTP: initialize is refused', {}, async (srv) => {
		srv.when('initialize', (ex) => ex.error(-32602, 'Not before ten o\'clock'));
		const r = await doctor(srv.url);
		failed(r, 'server', 7, /its reason stands above/);
		assert.match(r.steps.HTTP.text, /Not before ten/);
	});
	test('HTTP: a server that fails, and has no stream either', {}, async (srv) => {
		srv.when((ex) => ex.method === 'POST', (ex) => ex.reply(500));
		srv.when('GET', (ex) => ex.reply(405));
		failed(await doctor(srv.url), 'HTTP+SSE', 7, /the server failed/);
	});
	test('HTTP+SSE: not offered, and nothing else allowed', {}, async (srv) => {
		srv.when('GET', (ex) => ex.reply(405));
		failed(await doctor(srv.url, { args: ['--transport', 'sse'] }), 'HTTP+SSE', 7, /--transport auto/);
	});
	test('HTTP+SSE: the first event is held back', { mode: 'sse' }, async (srv) => {
		srv.when('GET', (ex) => { ex.stream(); });
		failed(await doctor(srv.url, { args: ['--transport', 'sse'] }), 'HTTP+SSE', 10, /buffer/);
	});
	test('HTTP+SSE: an endpoint of another origin', { mode: 'sse', endpoint: () => 'http://192.0.2.1/message' }, async (srv) => {
		failed(await doctor(srv.url), 'session', 9, /public address/);
	});
	test('authorization: a sign-in is wanted, with its metadata and flows', {}, async (srv) => {
		srv.when(() => true, (ex) => ex.reply(401, { 'WWW-Authenticate': `Bearer resource_metadata="${srv.origin}/prm"` }));
		srv.when((ex) => ex.path === '/prm', (ex) => ex.json({ resource: srv.url, authorization_servers: [srv.origin] }));
		srv.when((ex) => ex.path === '/.well-known/oauth-authorization-server', (ex) => ex.json({ issuer: srv.origin, authorization_endpoint: `${srv.origin}/authorize`, token_endpoint: `${srv.origin}/token`, registration_endpoint: `${srv.origin}/register`, code_challenge_methods_supported: ['S256'], response_types_supported: ['code'] }));
		const r = await doctor(srv.url);
		failed(r, 'authorization', 8, /mcp-holdfast login/);
		assert.equal(r.steps.metadata.verdict, 'ok');
		assert.match(r.steps['sign-in'].text, /browser \(with PKCE\).*registration/);
	});
	test('sign-in: no metadata anywhere', {}, async (srv) => {
		srv.when(() => true, (ex) => ex.reply(401));
		const r = await doctor(srv.url);
		failed(r, 'sign-in', 8);
		assert.equal(r.steps.metadata.verdict, 'warn');
	});
	test('authorization: the header that was given is refused, and not shown', {}, async (srv) => {
		srv.when(() => true, (ex) => ex.reply(401));
		const r = await doctor(srv.url, { args: ['--header', 'Authorization: Bearer tok-verysecretvalue123'] });
		failed(r, 'authorization', 8, /wrong, has ended/);
		assert.ok(!r.out.includes('verysecret'));
	});
	for (const args of [[], ['--transport', 'sse']]) {
		test(`authorization: wanted for the stream of 2024-11-05 ${args.join(' ')}`, { mode: 'sse' }, async (srv) => {
			srv.when('GET', (ex) => (ex.path === '/sse' ? ex.reply(401, { 'WWW-Authenticate': 'Bearer' }) : false));
			const r = await doctor(srv.url, { args });
			failed(r, 'authorization', 8, /mcp-holdfast login/);
			assert.equal(r.steps.metadata.verdict, 'warn');
		});
	}
	test('authorization: wanted for the messages of 2024-11-05', { mode: 'sse' }, async (srv) => {
		srv.when('initialize', (ex) => (ex.path === '/message' ? ex.reply(401) : false));
		failed(await doctor(srv.url), 'authorization', 8);
	});
	for (const kind of ['notifications/initialized', 'ping']) {
		test(`authorization: wanted from ${kind} on`, {}, async (srv) => {
			srv.when(kind, (ex) => ex.reply(401));
			srv.when((ex) => ex.path === '/.well-known/oauth-protected-resource/mcp', (ex) => ex.json({ resource: srv.url, authorization_servers: [srv.origin] }));
			const r = await doctor(srv.url);
			failed(r, 'authorization', 8, /login/);
			assert.equal(r.steps.metadata.verdict, 'ok', r.out);
			assert.notEqual(r.steps[kind === 'ping' ? 'ping' : 'session']?.verdict, 'fail');
		});
	}
	test('authorization: a firewall', {}, async (srv) => {
		srv.when(() => true, (ex) => ex.reply(403));
		const r = await doctor(srv.url);
		failed(r, 'authorization', 8, /firewall/);
		assert.doesNotMatch(r.out, /login/);
		assert.equal(r.steps['sign-in'], undefined);
	});
	test('session: an instance that does not know it', {}, async (srv) => {
		srv.when('notifications/initialized', (ex) => ex.reply(404));
		failed(await doctor(srv.url), 'session', 9, /load balancer/);
	});
	test('stream: held back until it ends', {}, async (srv) => {
		srv.when((ex) => ex.method === 'GET' && ex.headers['mcp-session-id'], (ex) => ex.silence());
		failed(await doctor(srv.url), 'stream', 10, /buffer/);
	});
	test('stream: an error is a warning', {}, async (srv) => {
		srv.when((ex) => ex.method === 'GET' && ex.headers['mcp-session-id'], (ex) => ex.reply(500));
		const { code, steps } = await doctor(srv.url);
		assert.equal(code, 0);
		assert.equal(steps.stream.verdict, 'warn');
	});
	test('ping: lost between requests', {}, async (srv) => {
		srv.when('ping', (ex) => ex.reply(404), 1);
		failed(await doctor(srv.url), 'ping', 9, /one instance/);
	});
	test('buffering: answers are held back', {}, async (srv) => {
		srv.when('ping', (ex) => { const out = ex.stream(); setTimeout(() => { out.event({ data: ex.envelope({ result: {} }) }).end(); }, 1300 * SLOW); });
		failed(await doctor(srv.url), 'buffering', 10, /nginx/);
	});
	test('idle: the stream is cut', {}, async (srv) => {
		srv.when((ex) => ex.method === 'GET' && ex.headers['mcp-session-id'], (ex) => { const out = ex.stream(); setTimeout(() => out.reset(), 900); });
		const { code, steps } = await doctor(srv.url, { args: ['--wait', '4s'] });
		assert.equal(code, 0);
		assert.equal(steps.idle.verdict, 'warn');
		assert.match(steps.idle.cause, /quiet connections/);
	});
	test('idle: a stream that stands', {}, async (srv) => {
		const { steps } = await doctor(srv.url, { args: ['--wait', '300ms'] });
		assert.equal(steps.idle.verdict, 'ok');
	});
	test('end: a server that closes no session', {}, async (srv) => {
		srv.when('DELETE', (ex) => ex.reply(405));
		const { code, steps } = await doctor(srv.url);
		assert.equal(code, 0);
		assert.equal(steps.end.verdict, 'none');
	});
});

describe('doctor that is interrupted closes its session', () => {
	async function interrupted(srv, sees, args = []) {
		const b = new Bridge(['doctor', srv.url, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
		let out = '';
		b.child.stdout.on('data', (d) => { out += d; });
		try {
			await srv.sees(...sees);
			b.signal('SIGINT');
			const { code, signal } = await b.exited(4000); /* without a signal, 5 s are given to the end of a session */
			return { code: code ?? signal, out };
		} finally { await b.destroy(); }
	}
	for (const kind of ['ping', 'notifications/initialized'])
		test(`in the middle of ${kind}`, {}, async (srv) => {
			srv.when(kind, () => true);
			const { code, out } = await interrupted(srv, [kind]);
			assert.equal(code, 130, out);
			assert.match(out, /ok .*the session is closed\nInterrupted/);
			assert.doesNotMatch(out, /FAIL/);
			assert.equal(srv.sessions.size, 0);
		});
	test('in the middle of --wait, and says so in JSON', {}, async (srv) => {
		const { code, out } = await interrupted(srv, ['ping', 5], ['--wait', '30s', '--json']);
		assert.equal(code, 130, out);
		const { ok, exit, steps } = JSON.parse(out);
		assert.deepEqual([ok, exit, steps.at(-1).text], [false, 130, 'the session is closed']);
		assert.equal(srv.sessions.size, 0);
	});
	test('when only the head of the answer to initialize has come', { respond: 'sse' }, async (srv) => {
		srv.when('initialize', (ex) => { ex.stream({ headers: { 'Mcp-Session-Id': 'begun-1234' } }); });
		const { code } = await interrupted(srv, ['initialize']);
		assert.equal(code, 130);
		assert.equal((await srv.sees('DELETE'))[0].headers['mcp-session-id'], 'begun-1234');
	});
	test('and waits a second at most for that', {}, async (srv) => {
		srv.when('ping', () => true);
		srv.when('DELETE', () => true);
		const { code, out } = await interrupted(srv, ['ping']);
		assert.equal(code, 130, out);
		assert.match(out, /DELETE is not answered/);
	});
});

describe('doctor keeps to itself', () => {
	test('it stores nothing', {}, async (srv) => {
		const scratch = scratchDirectory(), home = path.join(scratch, 'home');
		fs.mkdirSync(home);
		const r = await run(['doctor', srv.url], { env: { HOME: home, XDG_STATE_HOME: '', XDG_CONFIG_HOME: '', XDG_CACHE_HOME: '', XDG_RUNTIME_DIR: home }, scratch: scratchDirectory() });
		assert.equal(r.code, 0);
		assert.deepEqual(fs.readdirSync(home), []);
	});
	it('a server that says hostile things does not reach the terminal', async () => {
		await withServer({}, async (srv) => {
			srv.when('initialize', (ex) => ex.result({ protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: '\x1b[31mred\x07\u202e', version: 'x\r\ny' } }));
			const r = await run(['doctor', srv.url]);
			assert.doesNotMatch(r.stdout, /[\x00-\x09\x0b-\x1f\x7f]|\u202e/);
		});
	});
});
