// Signing in: a person with a browser, an authorization server that behaves, and
// then one that does not.
import fs from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { assert, assertOwnError, assertText, describe, scenario, scratchDirectory, until, Bridge, QUICK, SLOW, it, run, Server } from '../lib/scenario.mjs';
import { AuthServer, protect, signIn, visit, SHORT } from '../lib/authserver.mjs';

const NOBODY = { BROWSER: 'true' }; // the browser starts, and nobody sits before it: the test does

/** As scenario(), with an authorization server; body gets `as` and `guard`, and connects itself. */
function signing(name, { as: asOptions, protect: guardOptions, ...setup }, body) {
	scenario(name, { env: NOBODY, connect: false, ...setup, before: async (tools) => {
		tools.srv.as = await AuthServer.start(asOptions);
		tools.srv.guard = protect(tools.srv, tools.srv.as, typeof guardOptions === 'function' ? guardOptions(tools.srv) : guardOptions);
	} }, async (tools) => {
		const { as, guard } = tools.srv;
		try { await body({ ...tools, as, guard }); } finally { await as.stop(); }
	});
}
const initialize = (br) => br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'driver', version: '1' } });
const NS = 'io.modelcontextprotocol/';
const discover = (br) => br.request('server/discover', { _meta: { [`${NS}protocolVersion`]: '2026-07-28', [`${NS}clientInfo`]: { name: 'driver', version: '1' }, [`${NS}clientCapabilities`]: {} } });

describe('signing in', { concurrency: 4 }, () => {
	signing('a 401 waits for the person, then goes through', { protect: { scopes: ['read', 'write'] } }, async ({ srv, br, as }) => {
		const waiting = initialize(br);
		const { status, page } = await signIn(br);
		assert.equal(status, 200);
		assert.match(page, /can be closed/);
		assert.ok((await waiting).result);
		br.notify('notifications/initialized');
		assertText(await br.call('echo', { text: 'in' }), 'in');
		const asked = as.seen('/authorize')[0].query;
		assert.equal(asked.get('scope'), 'read write');
		assert.equal(asked.get('resource'), srv.url);
		assert.equal(asked.get('code_challenge_method'), 'S256');
		assert.equal(JSON.parse(as.seen('/register')[0].body).application_type, 'native');
		assert.equal(as.grants('authorization_code')[0].form.get('resource'), srv.url);
	});

	for (const args of [[], ['--device-code']]) signing(`answers that begin with a byte order mark are understood ${args}`, { args, as: { pollsUntilConsent: 0 } }, async ({ srv, br, as }) => {
		srv.when((e) => /oauth-protected/.test(e.path), (e) => e.json(`\ufeff${JSON.stringify({ resource: srv.url, authorization_servers: [as.issuer] })}`));
		as.json = (res, value, status = 200) => { res.writeHead(status, { 'content-type': 'application/json' }); res.end(`\ufeff${JSON.stringify(value)}`); };
		const waiting = initialize(br);
		if (!args.length) await signIn(br);
		assert.ok((await waiting).result);
	});

	signing('the next process is signed in already', {}, async ({ srv, br, as, scratch, bridge }) => {
		const waiting = initialize(br);
		await signIn(br);
		await waiting;
		const second = bridge([srv.url, ...QUICK], { env: NOBODY, scratch });
		const before = as.requests.length;
		await second.connect();
		assert.equal(as.requests.length, before);
		assert.doesNotMatch(second.stderr, SHORT);
	});

	signing('two processes at once: one browser, both get the token', {}, async ({ srv, br, as, scratch, bridge }) => {
		const second = bridge([srv.url, ...QUICK], { env: NOBODY, scratch });
		const both = [initialize(br), initialize(second)];
		const either = await until(() => [br, second].find((b) => /sign-in is needed/.test(b.stderr)), 8000, 'a sign-in address');
		await signIn(either);
		for (const one of both) assert.ok((await one).result);
		assert.equal(as.seen('/authorize').length, 1);
		assert.equal(as.seen('/register').length, 1);
	});

	signing('a client that waits too long is told the address, and the flow goes on', { args: ['--hold-time', '2s'] }, async ({ srv, br }) => {
		const told = await initialize(br);
		const e = assertOwnError(told, 'auth_required');
		const [, url] = SHORT.exec(e.message) ?? assert.fail(e.message);
		assert.doesNotMatch(e.message, /state=/);
		assert.ok(e.message.includes(`Or run: mcp-holdfast login ${srv.url} in a terminal.`), e.message);
		await visit(url);
		await until(async () => (await initialize(br)).result, 8000, 'a session after the sign-in');
	});

	signing('the command that a client is told shows no value of a query, and no key in a path', { args: ['--hold-time', '2s'], server: { path: '/u/k3J9xQ2mZ7vB5nR8tL4w/mcp' }, url: (srv) => `${srv.url}?api_key=query-key-0123456789` }, async ({ br }) => {
		const { message } = assertOwnError(await initialize(br), 'auth_required');
		assert.match(message, /Or run: mcp-holdfast login http:\/\/127\.0\.0\.1:\d+\/u\/\[redacted:\w+\]\/mcp\?\[hidden\] in a terminal\./);
		assert.ok(!message.includes('k3J9xQ2m') && !message.includes('query-key'), message);
	});

	signing('when the address was used and the window closed, the next answer gives another', { args: ['--hold-time', '2s'] }, async ({ br }) => {
		const first = initialize(br);
		await until(() => SHORT.test(br.stderr), 8000, 'the address');
		const [used] = SHORT.exec(br.stderr);
		assert.equal((await fetch(used, { redirect: 'manual' })).status, 302);
		const [url] = SHORT.exec(assertOwnError(await first, 'auth_required').message);
		assert.notEqual(url, used);
		await visit(url);
		await until(async () => (await initialize(br)).result, 8000, 'a session after the sign-in');
	});

	signing('whoever waits for the sign-in of another process is told its address, while it is good', { args: ['--hold-time', '2s'] }, async ({ srv, br, as, scratch, bridge }) => {
		const first = initialize(br);
		await until(() => SHORT.test(br.stderr), 8000, 'the address');
		const second = bridge([srv.url, ...QUICK, '--hold-time', '600ms'], { env: NOBODY, scratch });
		await fetch(SHORT.exec(br.stderr)[1], { redirect: 'manual' });
		const { message } = assertOwnError(await initialize(second), 'auth_required');
		assert.match(message, /another process/);
		assert.equal((await visit(SHORT.exec(message)[1])).status, 200);
		for (const b of [br, second]) await until(async () => (await initialize(b)).result, 8000, 'a session after the sign-in');
		assert.equal(as.seen('/authorize').length, 1);
		await first;
	});

	signing('a client is told the code of a device', { args: ['--hold-time', '600ms', '--device-code'], as: { pollsUntilConsent: 3 } }, async ({ srv, br, as }) => {
		const { message } = assertOwnError(await initialize(br), 'auth_required');
		assert.ok(message.includes('ABCD-EFGH') && message.includes(`${as.origin}/go`), message);
		assert.ok(message.includes(`Or run: mcp-holdfast login ${srv.url} in a terminal, with the same options.`), message);
		await until(async () => (await initialize(br)).result, 12000, 'a session after the sign-in');
	});

	signing('the address works once, and the long one is shown nowhere', { args: ['--log-level', 'trace'] }, async ({ br, as }) => {
		const waiting = initialize(br);
		await until(() => SHORT.test(br.stderr), 8000, 'the address');
		const url = SHORT.exec(br.stderr)[1];
		const first = await fetch(url, { redirect: 'manual' });
		assert.equal(first.status, 302);
		const long = first.headers.get('location');
		assert.equal((await fetch(url, { redirect: 'manual' })).status, 410);
		const state = new URL(long).searchParams.get('state');
		assert.ok(!br.stderr.includes(state));
		const listener = new URL(url).origin;
		assert.equal((await fetch(`${listener}/oauth/callback?code=x&state=wrong`)).status, 400);
		assert.equal((await fetch(`${listener}/oauth/callback?code=x`)).status, 400);
		await visit(long);
		assert.ok((await waiting).result);
		assert.equal(as.grants('authorization_code').length, 1);
		await assert.rejects(fetch(url), 'the listener is closed afterwards');
	});

	signing('what stands in the address of a sign-in can be printed', {}, async ({ br, as }) => {
		as.options.metadata = { authorization_endpoint: `${as.origin}/auth\u009b2J\u202e?x=1` };
		const waiting = initialize(br);
		const [, short] = await br.logged(SHORT), leads = (await fetch(short, { redirect: 'manual' })).headers.get('location');
		assert.ok(leads.startsWith(`${as.origin}/auth%C2%9B2J%E2%80%AE?x=1&response_type=code&`), leads);
		await visit(leads.replace(/auth%.*x=1&/, 'authorize?'));
		assert.ok((await waiting).result);
	});

	signing('a sign-in that is declined refuses what waits, and a later request may start anew', { as: { refuse: 'access_denied' } }, async ({ br, as }) => {
		const waiting = initialize(br);
		const page = await signIn(br);
		assert.equal(page.status, 400);
		assert.match(assertOwnError(await waiting, 'auth_required').message, /declined|access_denied/);
		as.options.refuse = undefined;
		const again = initialize(br);
		await signIn(br, 2);
		assert.ok((await again).result);
	});

	signing('whoever declines is not asked again by every process that waited', { as: { refuse: 'access_denied' } }, async ({ srv, br, as, scratch, bridge }) => {
		const all = [br, ...[1, 2].map(() => bridge([srv.url, ...QUICK], { env: NOBODY, scratch }))];
		const asked = () => all.filter((b) => /sign-in is needed/.test(b.stderr));
		const waiting = all.map((b) => initialize(b));
		await until(() => asked().length && all.every((b) => /> lock/.test(b.stderr)), 8000, 'a sign-in that two wait for');
		const [first] = asked();
		await signIn(first);
		for (const one of waiting) assert.match(assertOwnError(await one, 'auth_required').message, /declined|another process .* not finished/);
		assert.equal(asked().length, 1);
		as.options.refuse = undefined;
		const second = all.find((b) => b !== first), again = initialize(second); /* but this one wants it now */
		await signIn(second);
		assert.ok((await again).result);
	});

	signing('more scope is asked for in the middle of a session', { protect: { scopes: ['basic'], need: (e) => e.tool === 'append' && 'write' } }, async ({ br, as }) => {
		const waiting = initialize(br);
		await signIn(br);
		await waiting;
		br.notify('notifications/initialized');
		assertText(await br.call('echo', { text: 'a' }), 'a');
		const more = br.call('append', { text: 'x' });
		await signIn(br, 2);
		assert.ok((await more).result);
		assert.equal(as.seen('/authorize')[1].query.get('scope'), 'basic write');
	});

	signing('while more scope is asked for, calls that need none go on', { protect: { scopes: ['basic'], need: (e) => e.tool === 'append' && 'write' } }, async ({ br, as }) => {
		const waiting = initialize(br);
		await signIn(br);
		await waiting;
		br.notify('notifications/initialized');
		const more = br.call('append', { text: 'x' });
		await until(() => br.stderr.match(/sign-in is needed/g).length === 2, 8000, 'the second address');
		assertText(await br.call('echo', { text: 'meanwhile' }), 'meanwhile');
		assert.equal(as.grants('authorization_code').length, 1);
		await signIn(br, 2);
		assert.ok((await more).result);
	});

	signing('when more scope is declined, only the call that wanted it fails', { protect: { scopes: ['basic'], need: (e) => e.tool === 'append' && 'write' } }, async ({ br, as }) => {
		const waiting = initialize(br);
		await signIn(br);
		await waiting;
		br.notify('notifications/initialized');
		as.options.refuse = 'access_denied';
		const more = br.call('append', { text: 'x' });
		await signIn(br, 2);
		assert.match(JSON.stringify((await more).result ?? (await more).error), /declined|access_denied/);
		assertText(await br.call('echo', { text: 'after' }), 'after');
		assert.equal(as.seen('/authorize').length, 2);
	});

	for (const [who, begin] of Object.entries({ 'a legacy client': initialize, 'a modern client': discover }))
		signing(`an Authorization header of the user is never replaced, and ${who} is told`, { args: ['-H', 'Authorization: Bearer mine-and-only-mine'] }, async ({ br, as, guard }) => {
			const e = assertOwnError(await begin(br), 'auth_required');
			assert.match(e.message, /Authorization header that the user's configuration gives .* has to correct or remove it\./);
			assert.equal(as.requests.length, 0);
			assert.ok(guard.tokens.every((t) => t === 'mine-and-only-mine'));
		});

	signing('nothing secret is anywhere but where it belongs', { args: ['--log-level', 'trace', '-H', 'X-Key: header-secret-0123456789'], as: { expiresIn: 3 } }, async ({ srv, br, as, scratch }) => {
		const waiting = initialize(br);
		await signIn(br);
		await waiting;
		br.notify('notifications/initialized');
		await until(() => as.grants('refresh_token').length >= 1, 8000, 'a refresh');
		assertText(await br.call('echo', { text: 'a' }), 'a');
		as.secrets.add('header-secret-0123456789');
		assert.ok(as.secrets.size >= 6);
		for (const s of as.secrets) {
			for (const form of [s, encodeURIComponent(s), Buffer.from(s).toString('base64')]) {
				assert.ok(!br.stderr.includes(form), `${s.slice(0, 10)} in the log`);
				assert.ok(!br.lines.some((l) => l.raw.includes(form)), `${s.slice(0, 10)} at the client`);
			}
		}
		const walk = (d) => fs.readdirSync(d, { withFileTypes: true }).flatMap((f) => f.isDirectory() ? walk(path.join(d, f.name)) : f.isFile() ? [path.join(d, f.name)] : []);
		const files = walk(scratch);
		assert.ok(files.some((f) => f.endsWith('.tokens')));
		for (const f of files) {
			const bytes = fs.readFileSync(f, 'latin1');
			for (const s of as.secrets) assert.ok(!bytes.includes(s), `${s.slice(0, 10)} in ${f}`);
			assert.equal(fs.statSync(f).mode & 0o077, 0, f);
		}
		// The headers for the MCP server went to it alone.
		assert.ok(srv.exchanges.some((e) => e.headers['x-key']));
		assert.ok(as.requests.every((r) => !r.headers['x-key']));
		assert.ok(as.seen('/token').every((r) => !r.headers.authorization));
		assert.ok(srv.exchanges.filter((e) => e.path !== '/mcp').every((e) => !e.headers.authorization && !e.headers['x-key']));
	});

	signing('by device code, where there is no browser', { args: ['--device-code'] }, async ({ br, as }) => {
		const waiting = initialize(br);
		await br.logged(/enter the code ABCD-EFGH/);
		assert.ok((await waiting).result);
		assert.ok(as.polls >= 2);
		assert.equal(as.seen('/authorize').length, 0);
	});

	signing('a store that can not be written costs nothing but the memory', { env: { ...NOBODY, XDG_STATE_HOME: '/dev/null' } }, async ({ br }) => {
		const waiting = initialize(br);
		await signIn(br);
		assert.ok((await waiting).result);
		assert.match(br.stderr, /sign-ins are not kept/);
	});
});

describe('an authorization server that misbehaves', { concurrency: 4 }, () => {
	const endless = (req, res) => { res.writeHead(200, { 'content-type': 'application/json' }); const t = setInterval(() => { if (!res.write(`{"x":"${'a'.repeat(65536)}",`)) res.once('drain', () => {}); }, 5); res.on('close', () => clearInterval(t)); };
	const META = '/.well-known/oauth-authorization-server';
	const cases = {
		'metadata that never ends': (as) => as.when('/.well-known/', endless),
		'metadata that is HTML everywhere': (as) => as.when('/.well-known/', (q, res) => { res.writeHead(200, { 'content-type': 'text/html' }); res.end('<html>hi</html>'); }),
		'metadata that points back to itself': (as) => as.when('/.well-known/', (q, res) => { res.writeHead(302, { location: META }); res.end(); }),
		'metadata that points to a file': (as) => as.when('/.well-known/', (q, res) => { res.writeHead(302, { location: 'file:///etc/passwd' }); res.end(); }),
		'another issuer': (as) => { as.options.metadata = { issuer: 'https://honest.example' }; },
		'no PKCE': (as) => { as.options.metadata = { code_challenge_methods_supported: null }; },
		'an authorization endpoint that is a file': (as) => { as.options.metadata = { authorization_endpoint: 'file:///etc/passwd' }; },
		'a token endpoint that is a file': (as) => { as.options.metadata = { token_endpoint: 'file:///etc/passwd' }; },
		'no way to register': (as) => { as.options.metadata = { registration_endpoint: null }; },
		'a registration that is refused': (as) => as.when('/register', (q, res) => as.json(res, { error: 'invalid_redirect_uri' }, 400)),
		'a registration without an id': (as) => as.when('/register', (q, res) => as.json(res, {}, 201)),
		'a registration that hangs up': (as) => as.when('/register', (q, res) => res.destroy()),
	};
	for (const [what, spoil] of Object.entries(cases))
		signing(`${what}: a clear error, and the bridge still runs`, {}, async ({ br, as }) => {
			const rule = spoil(as);
			const e = assertOwnError(await initialize(br).get(30000), 'auth_required');
			assert.ok(e.message.length > 40, e.message);
			assert.equal(as.seen('/authorize').length, 0);
			if (rule) rule.left = 0;
			as.options.metadata = undefined;
			const again = initialize(br);
			await signIn(br);
			assert.ok((await again).result);
		});

	const tokens = {
		'a token without a type': { access_token: 'x', expires_in: 3600 },
		'a token of another type': { access_token: 'x', token_type: 'mac' },
		'a negative expires_in': { access_token: 'x', token_type: 'Bearer', expires_in: -1 },
		'no token': { token_type: 'Bearer' },
		'a token with a line break': { access_token: 'x\r\nX-Evil: 1', token_type: 'Bearer' },
	};
	for (const [what, answer] of Object.entries(tokens))
		signing(`${what} is refused`, {}, async ({ srv, br, as }) => {
			as.when('/token', (q, res) => as.json(res, answer));
			const waiting = initialize(br);
			assert.equal((await signIn(br)).status, 400);
			assertOwnError(await waiting, 'auth_required');
			assert.ok(srv.exchanges.every((e) => !e.headers.authorization && !e.headers['x-evil']));
		});

	signing('metadata that a few bytes blow up costs no memory', {}, async ({ br, as }) => {
		const small = gzipSync(Buffer.alloc(100e6, ' ')), before = br.status('VmHWM');
		const bomb = as.when('/.well-known/', (q, res) => { res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }); res.end(small); });
		assertOwnError(await initialize(br).get(30000), 'auth_required');
		assert.ok(as.requests.every((r) => !r.headers['accept-encoding']));
		assert.ok(br.status('VmHWM') - before < 20000 * SLOW, `${br.status('VmHWM') - before} kB`);
		bomb.left = 0;
		const again = initialize(br);
		await signIn(br);
		assert.ok((await again).result);
	});

	signing('an authorization server that says a secret back tells it to nobody', {}, async ({ br, as }) => {
		as.when('/token', (q, res, r) => as.json(res, { error: r.form.get('code'), error_description: r.form.get('code_verifier') }, 400));
		const waiting = initialize(br);
		const { page } = await signIn(br);
		const { message } = assertOwnError(await waiting, 'auth_required');
		assert.match(message, /refused to give a token/);
		for (const s of as.secrets) assert.ok(!page.includes(s) && !message.includes(s) && !br.stderr.includes(s), s.slice(0, 10));
	});

	for (const [what, redirect] of Object.entries({ 'a wrong iss': { iss: 'https://evil.example' }, 'a missing iss': { iss: null }, 'no code': { code: null } }))
		signing(`a redirect with ${what} leads to no token request`, { as: { redirect } }, async ({ br, as }) => {
			const waiting = initialize(br);
			assert.equal((await signIn(br)).status, 400);
			assertOwnError(await waiting, 'auth_required');
			assert.equal(as.seen('/token').length, 0);
		});

	signing('metadata for another resource is refused', { protect: { prm: { resource: 'https://other.example/mcp' } } }, async ({ br, as }) => {
		assert.match(assertOwnError(await initialize(br), 'auth_required').message, /another resource/);
		assert.equal(as.requests.length, 0);
	});

	signing('an authorization server without https is not asked', { protect: { prm: { authorization_servers: ['http://192.168.7.7'] } } }, async ({ br }) => {
		assertOwnError(await initialize(br), 'auth_required');
	});

	signing('a server that refuses every token is not hammered', { protect: { accept: () => false } }, async ({ br, as }) => {
		const waiting = initialize(br);
		for (let n = 1; n <= 4; n++) {
			const more = await Promise.race([waiting.get(20000).then(() => false), signIn(br, n).then(() => true)]);
			if (!more) break;
		}
		assertOwnError(await waiting, 'auth_required');
		assert.ok(as.seen('/authorize').length <= 3, `${as.seen('/authorize').length} sign-ins`);
	});
});

describe('the commands', { concurrency: 2 }, () => {
	it('login says that it waits for the sign-in of another process, and where that is', { timeout: 60000 }, async () => {
		const srv = await Server.start(), as = await AuthServer.start(), scratch = scratchDirectory();
		protect(srv, as);
		const b = new Bridge([srv.url, ...QUICK], { scratch, env: NOBODY });
		try {
			const waiting = initialize(b);
			await until(() => SHORT.test(b.stderr), 8000, 'the address');
			const login = new Bridge(['login', srv.url], { stdio: ['ignore', 'pipe', 'pipe'], scratch, env: NOBODY });
			await login.logged(/another process/, 8000);
			await visit(SHORT.exec(login.stderr)[1]);
			assert.equal((await login.ended).code, 0, login.stderr);
			assert.ok((await waiting).result);
			assert.equal(as.seen('/authorize').length, 1);
			await b.finish();
		} finally {
			await b.destroy();
			await srv.stop();
			await as.stop();
		}
	});

	it('login is a failure when what it got is not kept, and ends by a signal with its number', { timeout: 60000 }, async () => {
		const srv = await Server.start(), as = await AuthServer.start(), bridges = [];
		protect(srv, as);
		const login = (env) => {
			const b = new Bridge(['login', srv.url, '--silent'], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...NOBODY, ...env } });
			bridges.push(b);
			return b;
		};
		try {
			const lost = login({ XDG_STATE_HOME: '/dev/null' });
			await lost.logged(SHORT);
			await visit(SHORT.exec(lost.stderr)[1]);
			assert.equal((await lost.exited()).code, 1, lost.stderr);
			assert.match(lost.stderr, /signed in to http:\/\/127\.0\.0\.1:\d+, but that can not be kept: /);
			for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) {
				const ended = login();
				await ended.logged(SHORT);
				ended.signal(signal);
				assert.equal((await ended.exited()).code, code, ended.stderr);
			}
		} finally {
			for (const b of bridges) await b.destroy();
			await srv.stop();
			await as.stop();
		}
	});

	for (const [name, silent, who] of [
		['that never answers', (srv) => srv.when(() => true, () => true), 'the server'],
		['whose metadata never comes', (srv) => srv.when((e) => e.path.startsWith('/.well-known/'), () => true), 'the server'],
		['whose authorization server never answers', (srv, as) => as.when('/', () => {}), 'the authorization server'],
	])
		it(`login gives up a server ${name}, after the hold time`, { timeout: 60000 }, async () => {
			const srv = await Server.start(), as = await AuthServer.start();
			protect(srv, as);
			silent(srv, as);
			const login = new Bridge(['login', srv.url, '--hold-time', '800ms'], { stdio: ['ignore', 'pipe', 'pipe'], env: NOBODY });
			try {
				assert.equal((await login.exited(10000)).code, 1);
				assert.match(login.stderr, new RegExp(`Authorization failed: ${who} did not say in time \\(--hold-time\\) how to sign in`));
			} finally {
				await login.destroy();
				await srv.stop();
				await as.stop();
			}
		});

	for (const [what, answers] of [['404', (e) => e.reply(404)], ['401', (e) => e.reply(401)], ['its front page', (e) => e.reply(200, { 'content-type': 'text/html' }, '<html>hello</html>')]])
		it(`a server that wants a key, and answers ${what} wherever one might sign in: all say so`, { timeout: 60000 }, async () => {
			const srv = await Server.start(), scratch = scratchDirectory();
			srv.when(() => true, answers);
			srv.when((e) => e.path === '/mcp', (e) => e.reply(401));
			const told = /wants credentials and publishes no OAuth metadata.*--header 'Authorization: Bearer \.\.\.', in which \$\{NAME\} is read from the environment/s;
			const b = new Bridge([srv.url, ...QUICK], { scratch, env: NOBODY });
			try {
				assert.match(assertOwnError(await initialize(b), 'auth_required').message, told);
				await b.finish();
				assert.match(b.stderr, told);
				const login = await run(['login', srv.url]);
				assert.equal(login.code, 1);
				assert.match(login.stderr, told);
				assert.doesNotMatch(login.stderr, /register one there|though/);
				assert.match((await run(['doctor', srv.url])).stdout, told);
			} finally {
				await b.destroy();
				await srv.stop();
			}
		});

	it('login to a server that lets everybody in says so', { timeout: 60000 }, async () => {
		const srv = await Server.start();
		try {
			assert.match((await run(['login', srv.url])).stderr, /answered a request without credentials, though/);
		} finally {
			await srv.stop();
		}
	});

	it('list shows no value of a query, no key in a path, and nothing that a terminal obeys', { timeout: 60000 }, async () => {
		const srv = await Server.start({ path: '/u/k3J9xQ2mZ7vB5nR8tL4w/mcp' }), as = await AuthServer.start(), scratch = scratchDirectory(), url = `${srv.url}?api_key=query-key-0123456789`;
		Object.defineProperty(as, 'issuer', { value: `${as.origin}/\u009b31m\u202ebad` });
		as.when('/.well-known/oauth-authorization-server/', (q, res) => as.json(res, as.metadata()));
		protect(srv, as);
		try {
			const b = new Bridge([url, ...QUICK], { scratch, env: NOBODY });
			const waiting = initialize(b);
			await signIn(b);
			assert.ok((await waiting).result);
			await b.finish();
			const list = new Bridge(['list'], { stdio: ['ignore', 'pipe', 'pipe'], scratch });
			let out = '';
			list.child.stdout.on('data', (d) => { out += d; });
			assert.equal((await list.ended).code, 0);
			assert.match(out, new RegExp(`^${srv.origin}/u/\\[redacted:\\w+\\]/mcp\\?`, 'm'));
			assert.match(out, new RegExp(`${as.origin}/\\?+31m\\?+bad `));
			assert.doesNotMatch(out, /[\u0080-\u009f\u202e]/);
			assert.ok(!out.includes('query-key') && !out.includes('k3J9xQ2m'), out);
		} finally {
			await srv.stop();
			await as.stop();
			fs.rmSync(scratch, { recursive: true, force: true });
		}
	});

	it('login asks the person though what is kept has expired, and believes no failed renewal', { timeout: 60000 }, async () => {
		const srv = await Server.start(), as = await AuthServer.start({ expiresIn: 1 }), scratch = scratchDirectory();
		protect(srv, as, { scopes: ['read'] });
		const login = async (n) => {
			const b = new Bridge(['login', srv.url], { stdio: ['ignore', 'pipe', 'pipe'], scratch, env: NOBODY });
			await until(() => SHORT.test(b.stderr) || b.end, 8000, 'the address');
			assert.match(b.stderr, SHORT);
			await visit(SHORT.exec(b.stderr)[1]);
			assert.equal((await b.ended).code, 0, b.stderr);
			assert.equal(as.seen('/authorize').length, n);
		};
		try {
			await login(1);
			const until1 = Date.now() + 1100;
			await until(() => Date.now() > until1, 8000, 'the end of the token');
			await login(2); /* with a refresh token that is good */
			assert.equal(as.grants('refresh_token').length, 0);
			as.refresh.clear();
			const until2 = Date.now() + 1100;
			await until(() => Date.now() > until2, 8000, 'the end of the token');
			await login(3); /* and with one that is not */
		} finally {
			await srv.stop();
			await as.stop();
			fs.rmSync(scratch, { recursive: true, force: true });
		}
	});

	it('login signs in ahead of time, list shows it, logout forgets it', { timeout: 60000 }, async () => {
		const srv = await Server.start(), as = await AuthServer.start(), scratch = scratchDirectory();
		protect(srv, as, { scopes: ['read'] });
		const command = async (...argv) => {
			const b = new Bridge(argv, { stdio: ['ignore', 'pipe', 'pipe'], scratch, env: NOBODY });
			let out = '';
			b.child.stdout.on('data', (d) => { out += d; });
			return { b, done: b.ended.then((end) => ({ ...end, out, err: b.stderr })) };
		};
		try {
			const { b, done } = await command('login', srv.url);
			await until(() => SHORT.test(b.stderr), 8000, 'the address');
			await visit(SHORT.exec(b.stderr)[1]);
			const login = await done;
			assert.equal(login.code, 0, login.err);
			assert.match(login.out, /Signed in to/);
			const list = await (await command('list')).done;
			assert.equal(list.code, 0, list.err);
			assert.ok(list.out.includes(srv.url) && list.out.includes(as.issuer));
			for (const s of as.secrets) assert.ok(!list.out.includes(s) && !login.out.includes(s) && !login.err.includes(s));
			const bridge = new Bridge([srv.url, ...QUICK], { scratch, env: NOBODY });
			await bridge.connect();
			await bridge.finish();
			assert.equal(as.seen('/authorize').length, 1);
			assert.match((await (await command('logout', srv.url)).done).out, /Forgot/);
			assert.match((await (await command('list')).done).out, /No sign-in is kept/);
		} finally {
			await srv.stop();
			await as.stop();
			fs.rmSync(scratch, { recursive: true, force: true });
		}
	});
});
