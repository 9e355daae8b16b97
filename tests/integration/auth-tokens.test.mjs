// Tokens over time: refreshed before they expire, by one process for all of them,
// and taken from where the user keeps them.
import fs from 'node:fs';
import path from 'node:path';
import { createHash } from 'node:crypto';
import { assert, assertFailure, assertOwnError, assertText, describe, it, never, run, scenario, scratchDirectory, until, BINARY, Bridge, QUICK, SLOW, Server } from '../lib/scenario.mjs';
import { AuthServer, protect, signIn } from '../lib/authserver.mjs';

const NOBODY = { BROWSER: 'true' };

async function together(body, { as: asOptions, protect: guardOptions } = {}) {
	const srv = await Server.start(), as = await AuthServer.start(asOptions), scratch = scratchDirectory(), bridges = [];
	const guard = protect(srv, as, guardOptions);
	const bridge = (args = [], env = NOBODY, [command, ...before] = [BINARY]) => { const b = new Bridge([...before, srv.url, ...QUICK, ...args], { scratch, env, command }); bridges.push(b); return b; };
	try {
		await body({ srv, as, guard, scratch, bridge });
		for (const b of bridges) await b.finish();
	} catch (e) {
		e.message += `\n--- at the authorization server\n${as.requests.map((r) => `${r.method} ${r.path} ${r.form.get('grant_type') ?? ''}`).join('\n')}\n${bridges.slice(0, 3).map((b) => b.transcript(30)).join('\n')}`;
		throw e;
	} finally {
		for (const b of bridges) await b.destroy();
		await srv.stop();
		await as.stop();
		fs.rmSync(scratch, { recursive: true, force: true });
	}
}
async function connectSignedIn(b) {
	const waiting = b.connect();
	await signIn(b);
	await waiting;
}

/** A command beside the bridges, with the store they have: its output as it comes. */
function beside(scratch, ...argv) {
	const b = new Bridge(argv, { stdio: ['ignore', 'pipe', 'pipe'], scratch, env: NOBODY });
	b.out = '';
	b.child.stdout.on('data', (d) => { b.out += d; });
	return b;
}
async function said(...of) {
	const b = beside(...of);
	assert.equal((await b.ended).code, 0, b.stderr);
	return b.out;
}

describe('tokens', { concurrency: 2 }, () => {
	it('a token is refreshed before it expires, and nobody notices', { timeout: 60000 }, () => together(async ({ as, guard, bridge }) => {
		const b = bridge();
		await connectSignedIn(b);
		const before = guard.challenged;
		await until(() => as.grants('refresh_token').length >= 2, 12000, 'two refreshes');
		assertText(await b.call('echo', { text: 'still' }), 'still');
		assert.equal(guard.challenged, before);
		assert.ok(new Set(guard.tokens).size >= 2);
		assert.equal(as.seen('/authorize').length, 1);
		assert.equal(as.reused ?? 0, 0);
	}, { as: { expiresIn: 4 } }));

	it('what is forgotten by logout is not brought back by a bridge that runs', { timeout: 60000 }, () => together(async ({ srv, as, scratch, bridge }) => {
		const b = bridge();
		await connectSignedIn(b);
		assert.match(await said(scratch, 'logout', srv.url), /Forgot/);
		const renewed = as.grants('refresh_token').length;
		await b.logged(/another process has signed out/, 12000);
		assert.equal(as.grants('refresh_token').length, renewed);
		assert.match(await said(scratch, 'list'), /No sign-in is kept/);
		const call = b.call('echo', { text: 'anew' });
		await signIn(b, 2);
		assertText(await call, 'anew');
	}, { as: { expiresIn: 4 } }));

	it('logout lets a renewal that is under way finish first', { timeout: 60000 }, () => together(async ({ srv, as, scratch, bridge }) => {
		const b = bridge(), held = [];
		as.when('/token', (q, res, r) => r.form.get('grant_type') === 'refresh_token' && held.push(() => as.json(res, as.issue(''))) > 0);
		await connectSignedIn(b);
		await until(() => held.length, 12000, 'a refresh');
		const logout = beside(scratch, 'logout', srv.url);
		await never(() => logout.end, 300, 'the end of logout');
		held[0]();
		assert.equal((await logout.ended).code, 0, logout.stderr);
		assert.match(logout.out, /Forgot/);
		assert.match(await said(scratch, 'list'), /No sign-in is kept/);
	}, { as: { expiresIn: 4 } }));

	/** Ends a bridge that waits for nothing but the answer to a refresh; gives what answers that. */
	async function endWhileRefreshing(as, b) {
		const held = [];
		await connectSignedIn(b);
		as.revokeAll();
		as.when('/token', (q, res, r) => r.form.get('grant_type') === 'refresh_token' && as.refresh.delete(r.form.get('refresh_token')) && held.push(res) > 0, 1);
		const call = b.call('echo');
		await until(() => held.length, 8000, 'a refresh');
		b.cancel(call);
		b.eof();
		await b.logged(/drain > end/);
		return held[0];
	}
	it('a process that ends while it refreshes keeps the token that it is given', { timeout: 60000 }, () => together(async ({ as, bridge }) => {
		const b = bridge(['--log-level', 'debug']), next = bridge();
		as.json(await endWhileRefreshing(as, b), as.issue(''));
		assert.equal((await b.exited()).code, 0);
		await next.connect();
		assert.equal(as.seen('/authorize').length, 1);
		assert.equal(as.reused ?? 0, 0);
	}));
	it('a process that ends while it refreshes asks nobody to sign in', { timeout: 60000 }, () => together(async ({ as, bridge }) => {
		const b = bridge(['--log-level', 'debug']);
		as.json(await endWhileRefreshing(as, b), { error: 'invalid_grant' }, 400);
		assert.equal((await b.exited()).code, 0);
		await b.logged(/token not refreshed/);
		assert.equal(b.stderr.match(/sign-in is needed/g).length, 1);
	}));

	it('twenty processes share each rotating refresh token: one refresh each time, nobody is signed out', { timeout: 120000 }, () => together(async ({ as, guard, bridge }) => {
		await connectSignedIn(bridge());
		const all = Array.from({ length: 19 }, () => bridge());
		await Promise.all(all.map((b) => b.connect()));
		for (let round = 1; round <= 2; round++) {
			await until(() => as.grants('refresh_token').length >= round, 20000 * SLOW, `refresh ${round}`);
			const said = await Promise.all(all.map((b) => b.call('echo', { text: `round ${round}` })));
			for (const a of said) assertText(a, `round ${round}`);
		}
		assert.equal(as.reused ?? 0, 0, 'a refresh token was used twice');
		assert.equal(as.seen('/authorize').length, 1);
		const issued = as.access.size;
		assert.ok(as.grants('refresh_token').length === issued - 1, 'one refresh for each token');
		// The next token is not asked for before the last one is half used.
		const times = as.grants('refresh_token').map((r) => r.at);
		for (let i = 1; i < times.length; i++) assert.ok(times[i] - times[i - 1] > 3000, `refreshes ${i} and ${i + 1} are ${times[i] - times[i - 1]} ms apart`);
		assert.equal(guard.challenged, 1);
	}, { as: { expiresIn: 8 } }));

	it('a revoked token is renewed by all of twenty processes with one refresh', { timeout: 120000 }, () => together(async ({ as, bridge }) => {
		await connectSignedIn(bridge());
		const all = Array.from({ length: 19 }, () => bridge());
		await Promise.all(all.map((b) => b.connect()));
		as.revokeAll();
		const said = await Promise.all(all.map((b) => b.call('echo', { text: 'renewed' })));
		for (const a of said) assertText(a, 'renewed');
		assert.equal(as.grants('refresh_token').length, 1);
		assert.equal(as.reused ?? 0, 0);
		assert.equal(as.seen('/authorize').length, 1);
	}));

	it('an authorization server that is away for a moment does not sign anybody out', { timeout: 60000 }, () => together(async ({ as, bridge }) => {
		const b = bridge();
		await connectSignedIn(b);
		as.when('/token', (q, res) => res.destroy(), 2);
		as.revokeAll();
		assertText(await b.call('echo', { text: 'back' }), 'back');
		assert.equal(as.seen('/authorize').length, 1);
	}));

	it('an outage of the authorization server that is shorter than the hold time is waited out', { timeout: 60000 }, () => together(async ({ as, bridge }) => {
		const b = bridge();
		await connectSignedIn(b);
		const away = [as.when('/.well-known/', (q, res) => res.destroy()), as.when('/token', (q, res) => { res.writeHead(503); res.end(); })];
		as.revokeAll();
		const call = b.call('echo', { text: 'held' });
		await as.sees('/.well-known/oauth-authorization-server', 7, 20000); /* one, three more, and what is held */
		away[0].left = 0;
		await as.sees('/token', 4, 20000);
		away[1].left = 0;
		assertText(await call.get(20000), 'held');
		assert.equal(as.seen('/authorize').length, 1);
		assert.ok(!b.stderr.includes('sign-in failed'));
	}));

	it('an authorization server that is away for long is asked once in a pause, and used again when it is back', { timeout: 60000 }, () => together(async ({ as, scratch, bridge }) => {
		const secret = path.join(scratch, 'secret');
		fs.writeFileSync(secret, 'client-secret-0123456789\n', { mode: 0o600 });
		const b = bridge(['--client-credentials', '--client-id', 'robot', '--client-secret-file', secret, '--tool-errors', 'protocol',
			'--hold-time', '600ms', '--breaker-threshold', '3', '--breaker-cooldown', '2s']);
		await b.connect();
		const away = as.when('/token', (q, res) => { res.writeHead(503); res.end(); });
		as.revokeAll();
		const refused = async () => assertOwnError(await b.call('echo', { text: 'away' }), 'auth_required');
		await until(async () => /unreachable for a while/.test((await refused()).message), 20000, 'a refusal at once');
		assert.match(b.stderr, /info .*circuit breaker of the authorization server is open circuitState=open/);
		let atOnce = 0;
		await until(async () => {
			const asked = as.requests.length, { message, data } = await refused();
			if (!/unreachable for a while/.test(message)) return false; /* that was a probe */
			assert.equal(as.requests.length, asked, 'nothing reaches the authorization server');
			assert.ok(data.retryAfterMs > 0 && data.retryAfterMs <= 2000 && data.retryable);
			assert.ok(!message.includes('127.0.0.1') && !message.includes('/token'));
			return ++atOnce >= 20;
		}, 20000, 'twenty refusals at once');
		away.left = 0;
		await until(async () => (await b.call('echo', { text: 'back' })).result, 20000, 'a call that works again');
		assert.match(b.stderr, /circuit breaker of the authorization server is closed circuitState=closed/);
	}));

	it('a request that waits in vain for a silent authorization server is told so, and for how long', { timeout: 60000 }, () => together(async ({ as, bridge }) => {
		const b = bridge(['--hold-time', '1500ms', '--tool-errors', 'protocol']);
		await connectSignedIn(b);
		const silent = as.when('/token', () => {});
		as.revokeAll();
		const { message, data } = assertOwnError(await b.call('echo', { text: 'held' }), 'auth_required');
		assert.match(message, /^The authorization server has given no usable answer in time, .* not carried out\. It may be tried again in (2\d|30) s\. /);
		assert.ok(data.retryable && data.retryAfterMs > 20000 && data.retryAfterMs <= 30000, `${data.retryAfterMs} ms`);
		assert.ok(!message.includes('127.0.0.1'));
		silent.left = 0;
		const call = b.call('echo', { text: 'back' });
		for (const c of as.sockets) c.destroy(); /* and the exchange under way fails */
		assertText(await call, 'back');
	}));

	it('an authorization server that is away for long is shown by status and metrics', { timeout: 60000 }, () => together(async ({ as, scratch, bridge }) => {
		const secret = path.join(scratch, 'secret'), prom = path.join(scratch, 'm.prom'), env = { XDG_RUNTIME_DIR: scratch };
		fs.writeFileSync(secret, 'client-secret-0123456789\n', { mode: 0o600 });
		const b = bridge(['--name', 'alpha', '--client-credentials', '--client-id', 'robot', '--client-secret-file', secret,
			'--hold-time', '600ms', '--breaker-threshold', '3', '--breaker-cooldown', '60s', '--metrics-file', prom], { ...NOBODY, ...env });
		await b.connect();
		const status = async () => JSON.parse((await run(['status', '--json'], { env })).stdout)[0];
		const shown = (state) => until(async () => { const s = await status(); return s?.authBreaker === state && s; }, 8000, `a status with a breaker that is ${state}`);
		const well = await shown('closed');
		assert.deepEqual([well.authServer, well.authOrigin, well.authNextTryMs, well.authBreakerChanges], [null, null, null, 0]);
		assert.ok(!(await run(['status'], { env })).stdout.includes('sign-in at'));

		as.when('/token', (q, res) => { res.writeHead(503); res.end(); });
		as.revokeAll();
		await until(async () => { await b.call('echo', { text: 'away' }); return b.stderr.includes('authorization server is open'); }, 20000, 'a breaker that opens');
		const away = await shown('open');
		assert.deepEqual([away.authServer, away.authOrigin, away.authBreakerChanges, away.breaker], ['authorization server', as.origin, 1, 'closed']);
		assert.ok(away.authNextTryMs > 0 && away.authNextTryMs <= 60000, `${away.authNextTryMs} ms`);
		const table = await run(['status'], { env });
		assert.match(table.stdout, new RegExp(`^  sign-in at ${as.origin}: breaker open, next try in \\d+(\\.\\d)?s$`, 'm'));
		for (const line of table.stdout.split('\n')) assert.ok(line.length <= 80, `wider than 80 columns: ${line}`);
		b.signal('SIGUSR1');
		await b.logged(/counters: .* auth_breaker=open auth_breaker_changes=1 /);
		b.eof();
		await b.exited();
		const metrics = fs.readFileSync(prom, 'utf8'), value = (name) => Number(new RegExp(`^mcp_holdfast_${name}\\{bridge="alpha"\\} (\\S+)$`, 'm').exec(metrics)?.[1]);
		assert.equal(value('auth_breaker_open'), 1);
		assert.equal(value('breaker_open'), 0);
		assert.equal(value('auth_breaker_changes_total'), 1);
		const left = value('auth_breaker_next_try_timestamp_seconds') - Date.now() / 1000;
		assert.ok(left > 0 && left <= 61, `${left} s`);
		for (const text of [metrics, table.stdout, JSON.stringify(away)]) assert.ok(!text.includes('/token') && ![...as.secrets].some((s) => text.includes(s)));
	}));

	it('another authorization server is registered with anew and gets nothing of the old one', { timeout: 60000 }, () => together(async ({ srv, as, bridge }) => {
		const other = await AuthServer.start();
		try {
			const b = bridge();
			await connectSignedIn(b);
			srv.clear();
			protect(srv, other);
			const call = b.call('echo', { text: 'moved' });
			await signIn(b, 2);
			assertText(await call, 'moved');
			assert.equal(other.seen('/register').length, 1);
			for (const r of other.requests) for (const s of as.secrets) assert.ok(!r.body.includes(s) && !JSON.stringify(r.headers).includes(s));
			assert.equal(as.grants('refresh_token').length, 0);
		} finally { await other.stop(); }
	}));

	it('tampered files are set aside with a message, and a sign-in replaces them', { timeout: 60000 }, () => together(async ({ scratch, bridge }) => {
		await connectSignedIn(bridge());
		const dir = path.join(scratch, '.local/state/mcp-holdfast');
		const file = path.join(dir, fs.readdirSync(dir).find((f) => f.endsWith('.tokens')));
		const bytes = fs.readFileSync(file);
		bytes[60] ^= 1;
		fs.writeFileSync(file, bytes);
		const b = bridge();
		await connectSignedIn(b);
		assert.match(b.stderr, /set aside/);
		assert.ok(fs.readdirSync(dir).some((f) => f.endsWith('.bad')));
	}));

	it('a sign-in of mcp-remote is found by the headers as they were typed', { timeout: 60000 }, () => together(async ({ srv, as, scratch, bridge }) => {
		const hash = createHash('md5').update(`${srv.url}|${JSON.stringify({ 'X-Key': 'k-${KEY_OF_MINE}' })}`).digest('hex');
		const dir = path.join(scratch, '.mcp-auth/mcp-remote-0.1.37');
		fs.mkdirSync(dir, { recursive: true });
		fs.writeFileSync(path.join(dir, `${hash}_tokens.json`), JSON.stringify(as.issue('')));
		const args = ['--import', '-H', 'X-Key: k-${KEY_OF_MINE}'], env = { ...NOBODY, KEY_OF_MINE: 'value-of-the-key' };
		const first = bridge(args, env);
		await first.connect();
		assert.equal(as.requests.length, 0);
		await first.finish();
		/* After a logout it is not found again. */
		as.revokeAll();
		fs.rmSync(path.join(dir, `${hash}_client_info.json`), { force: true });
		const second = bridge(args, env);
		await connectSignedIn(second);
		await second.finish();
		const out = new Bridge(['logout', srv.url, ...args], { stdio: ['ignore', 'pipe', 'pipe'], scratch, env });
		assert.equal((await out.ended).code, 0, out.stderr);
		for (const t of as.access.values()) t.revoked = false;
		await connectSignedIn(bridge(args, env));
		assert.equal(as.seen('/authorize').length, 2);
	}));

	it('client credentials need no person', { timeout: 60000 }, () => together(async ({ as, scratch, bridge }) => {
		const secret = path.join(scratch, 'secret');
		fs.writeFileSync(secret, 'client-secret-0123456789\n', { mode: 0o600 });
		const b = bridge(['--client-credentials', '--client-id', 'robot', '--client-secret-file', secret]);
		await b.connect();
		const [r] = as.grants('client_credentials');
		assert.equal(r.headers.authorization, `Basic ${Buffer.from('robot:client-secret-0123456789').toString('base64')}`);
		assert.ok(!b.stderr.includes('client-secret-0123456789'));
	}));

	it('a sign-in that is over before its 401 has been read to the end is not waited for', { timeout: 60000 }, () => together(async ({ srv, as, bridge }) => {
		const b = bridge(['--hold-time', '4s', '--tool-errors', 'protocol']), late = [];
		await connectSignedIn(b);
		await b.logged(/standing stream is open/, 8000);
		srv.when((e) => e.tool === 'echo' && !as.valid(/(\S+)$/.exec(e.headers.authorization)[1]), (e) => {
			e.write('HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error="invalid_token"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{');
			late.push(e);
		});
		const end = () => { const e = late.shift(); e.write('}'); e.done(); };
		as.revokeAll();
		let call = b.call('echo', { text: 'renewed' });
		await b.logged(/token refreshed/, 8000);
		end();
		assertText(await call, 'renewed');
		assertText(await b.call('echo', { text: 'and the next' }), 'and the next');
		/* The same with one that fails, */
		as.when('/.well-known/', (q, res) => as.json(res, { issuer: 'https://another.example' }));
		as.revokeAll();
		call = b.call('echo', { text: 'lost' });
		await b.logged(/sign-in failed/, 8000);
		end();
		assert.match(assertOwnError(await call, 'auth_required').message, /another issuer/);
		as.rules.length = 0;
	}));

	for (const [what, cut] of [['is cut short', true], ['never ends', false]]) it(`a 401 whose body ${what} is a 401, and the call was not carried out`, { timeout: 60000 }, () => together(async ({ srv, as, bridge }) => {
		const b = bridge();
		await connectSignedIn(b);
		await b.logged(/standing stream is open/, 8000);
		srv.when((e) => e.tool === 'append' && !as.valid(/(\S+)$/.exec(e.headers.authorization)[1]), (e) => {
			e.write('HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error="invalid_token"\r\nContent-Length: 20\r\n\r\n{');
			if (cut) setTimeout(() => e.connection.socket.destroy(), 100);
		});
		as.revokeAll();
		assertText(await b.call('append', { text: 'once' }), '1');
		assert.equal(as.grants('refresh_token').length, 1);
	}));

	it('a token file is read again when it changes and on a 401', { timeout: 60000 }, () => {
		let good = 'file-token-one';
		return together(async ({ guard, scratch, bridge }) => {
			const file = path.join(scratch, 'token');
			fs.writeFileSync(file, 'file-token-one\n', { mode: 0o600 });
			const b = bridge(['--token-file', file]);
			await b.connect();
			good = 'file-token-two';
			fs.writeFileSync(file, '\ufefffile-token-two\r\n');
			assertText(await b.call('echo', { text: 'new' }), 'new');
			assert.ok(guard.tokens.includes('file-token-two'));
			good = 'never';
			assert.match(assertOwnError(await b.request('tools/list'), 'auth_required').message, /same one/);
			assert.ok(!b.stderr.includes('file-token'));
		}, { protect: { accept: (t) => t === good } });
	});

	it('a token command is run without a shell, and again on a 401', { timeout: 60000 }, () => {
		let good = 'cmd-token-1';
		return together(async ({ guard, scratch, bridge }) => {
			const script = path.join(scratch, 'give token');
			fs.writeFileSync(script, `#!/bin/sh\necho x >> "${scratch}/runs"\necho "cmd-token-$(wc -l < "${scratch}/runs" | tr -d ' ')"\n`, { mode: 0o700 });
			const b = bridge(['--token-command', `'${script}' "$HOME;true"`]);
			await b.connect();
			good = 'cmd-token-2';
			assertText(await b.call('echo', { text: 'again' }), 'again');
			assert.deepEqual([...new Set(guard.tokens)], ['cmd-token-1', 'cmd-token-2']);
		}, { protect: { accept: (t) => t === good } });
	});

	it('a program that is started keeps the umask of the user', { timeout: 60000 }, () =>
		together(async ({ guard, scratch, bridge }) => {
			const script = path.join(scratch, 'mask');
			fs.writeFileSync(script, '#!/bin/sh\necho "umask-is-$(umask)"\n', { mode: 0o700 });
			await bridge(['--token-command', script], NOBODY, ['/bin/sh', '-c', 'umask 027; exec "$@"', 'sh', BINARY]).connect();
			assert.match(guard.tokens[0], /^umask-is-0*27$/);
		}, { protect: { accept: () => true } }));

	it('a program that is started inherits nothing that is open', { timeout: 60000, skip: process.platform !== 'linux' }, () =>
		together(async ({ guard, scratch, bridge }) => {
			const script = path.join(scratch, 'open');
			fs.writeFileSync(script, '#!/bin/bash\ncd /proc/$$/fd\nl=\nfor f in *; do t=$(readlink $f); case $t in /dev/null|pipe:*|*/open) ;; *) l=$l-$f;; esac; [ $f != 7 ] || l=$l-seven; done\necho "open-are-none$l"\n', { mode: 0o700 });
			await bridge(['--token-command', script], NOBODY, ['bash', '-c', 'exec 7</dev/zero; exec "$@"', 'bash', BINARY]).connect();
			assert.equal(guard.tokens[0], 'open-are-none');
		}, { protect: { accept: () => true } }));

	it('a token command that fails has given no token, though SIGCHLD was ignored at the start', { timeout: 60000 }, () =>
		together(async ({ guard, scratch, bridge }) => {
			const script = path.join(scratch, 'fail');
			fs.writeFileSync(script, '#!/bin/sh\necho half-a-token\nexit 3\n', { mode: 0o700 });
			const b = bridge(['--token-command', script], NOBODY, ['bash', '-c', 'trap "" CHLD; exec "$@"', 'bash', BINARY]);
			assertFailure(await b.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }));
			assert.match(b.stderr, /the token command failed/);
			assert.deepEqual(guard.tokens, []);
		}));

	it('a key in a header file is read again on a 401, before anybody is asked to sign in', { timeout: 60000 }, async () => {
		const srv = await Server.start(), scratch = scratchDirectory(), file = path.join(scratch, 'headers');
		let good = 'key-number-one';
		srv.when((e) => e.path === '/mcp', (e) => { if (e.headers['x-api-key'] === good) return false; e.reply(401, {}, ''); });
		fs.writeFileSync(file, 'X-Api-Key: key-number-one\n', { mode: 0o600 });
		const b = new Bridge([srv.url, ...QUICK, '--header-file', file], { scratch, env: NOBODY });
		try {
			await b.connect();
			good = 'key-number-two';
			fs.writeFileSync(file, 'X-Api-Key: key-number-two\n');
			assertText(await b.call('echo', { text: 'new' }), 'new');
			assert.ok(srv.exchanges.every((e) => e.path === '/mcp'), 'no sign-in was begun');
			await b.finish();
		} finally {
			await b.destroy();
			await srv.stop();
		}
	});

	it('a header file is read again on a 401', { timeout: 60000 }, () => {
		let good = 'header-token-one';
		return together(async ({ scratch, bridge }) => {
			const file = path.join(scratch, 'headers');
			fs.writeFileSync(file, 'Authorization: Bearer header-token-one\n', { mode: 0o600 });
			const b = bridge(['--header-file', file]);
			await b.connect();
			good = 'header-token-two';
			fs.writeFileSync(file, 'Authorization: Bearer header-token-two\n');
			assertText(await b.call('echo', { text: 'new' }), 'new');
		}, { protect: { accept: (t) => t === good } });
	});
});
