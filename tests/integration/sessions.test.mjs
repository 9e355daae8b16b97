// Sessions that are lost: how that is told, and what is said again.
import { assert, assertFailure, assertOwnError, assertResult, assertText, describe, never, scenario, until } from '../lib/scenario.mjs';

const rpc = (code, message) => ({ jsonrpc: '2.0', id: null, error: { code, message } });
/** What servers say of a session they do not know: [status, body]. */
const LOST = {
	'404 with -32001': [404, rpc(-32001, 'Session not found')],
	'404 with -32600': [404, rpc(-32600, 'Session has been terminated')],
	'404 with -32601': [404, rpc(-32601, 'Session not found')],
	'404 with an empty body': [404, ''],
	'404 with broken JSON': [404, '{"jsonrpc":"2.0","err'],
	'404 with HTML': [404, '<html>Not Found</html>'],
	'404 with JSON that is no JSON-RPC': [404, { detail: 'Not Found' }],
	'400 with -32001 "Session not found"': [400, rpc(-32001, 'Session not found')],
	'200 with -32001 "Session not found"': [200, rpc(-32001, 'Session not found')],
	'400 with -32000 "No valid session ID provided"': [400, rpc(-32000, 'Bad Request: No valid session ID provided')],
	'400 with -32000 "Server not initialized"': [400, rpc(-32000, 'Bad Request: Server not initialized')],
	'200 with -32002 "Server not initialized"': [200, rpc(-32002, 'Server not initialized')],
	'409 and its words': [409, rpc(-32000, 'Unknown session')],
	'500 and its words': [500, rpc(-32603, 'Session not found')],
	'503 and its words': [503, rpc(-32000, 'Session not found or expired')],
	'-32005': [404, rpc(-32005, 'Session expired')],
	'-32006': [400, rpc(-32006, 'Session terminated')],
};
/** Requests of a session the server does not know get this answer. */
const tellLoss = (srv, [status, body]) => srv.when(
	(e) => e.headers['mcp-session-id'] && !srv.sessions.has(e.headers['mcp-session-id']),
	(e) => e.json(status === 200 || typeof body === 'object' && body.jsonrpc ? { ...body, id: e.message?.id ?? null } : body, { status }),
);

describe('a lost session', { concurrency: 4 }, () => {
	for (const [what, loss] of Object.entries(LOST))
		scenario(`told as ${what} is made again and the request that met it is sent again`, {}, async ({ srv, br }) => {
			await br.request('tools/list');
			tellLoss(srv, loss);
			srv.forget();
			assertText(await br.call('append'), '1');
			assert.equal(srv.ran('append'), 1);
			assert.ok(srv.seen('initialize').length >= 2);
			assert.equal(new Set(srv.seen('initialize').map((e) => JSON.stringify(e.message.params))).size, 1);
		});

	scenario('is made again with all that was said: initialize byte for byte, initialized, the last level, the live subscriptions', { connect: false, version: '2025-06-18' }, async ({ srv, br }) => {
		const asked = br.expect('init');
		const params = '{"protocolVersion":"2025-06-18","capabilities":{"z":1,"a":{"deep":[1,2.50,1e3]}},"clientInfo":{"name":"\\u0063 \\/","version":"1"},"_extra":12345678901234567890}';
		br.raw(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":${params}}`);
		await asked;
		br.notify('notifications/initialized');
		await br.request('logging/setLevel', { level: 'error' });
		await br.request('logging/setLevel', { level: 'warning' });
		for (const uri of ['mem://one', 'mem://gone', 'mem://two']) await br.request('resources/subscribe', { uri });
		await br.request('resources/unsubscribe', { uri: 'mem://gone' });
		await srv.standing();
		const before = srv.session.id, lines = br.lines.length, cut = srv.exchanges.length;
		srv.forget();
		assertText(await br.call('echo', { text: 'after' }), 'after');
		await until(() => srv.session.subscriptions.size === 2, 3000, 'two subscriptions in the new session');
		assert.deepEqual([...srv.session.subscriptions].sort(), ['mem://one', 'mem://two']);
		assert.equal(srv.session.level, 'warning');
		assert.notEqual(srv.session.id, before);
		const again = srv.exchanges.slice(cut).filter((e) => e.method === 'POST' && e.headers['mcp-session-id'] !== before);
		assert.equal(again[0].kind, 'initialize');
		assert.equal(again[0].headers['mcp-session-id'], undefined);
		assert.ok(again[0].text.includes(params), 'the params of initialize, byte for byte');
		assert.equal(again[1].kind, 'notifications/initialized');
		assert.equal(again[2].kind, 'logging/setLevel');
		assert.equal(srv.exchanges.slice(cut).filter((e) => e.kind === 'logging/setLevel').length, 1);
		await srv.standing();
		const said = br.lines.slice(lines).map((l) => l.message).filter((m) => !m.method);
		assert.equal(said.length, 1, 'the client sees the answer to its call and no other');
		srv.notify('notifications/resources/updated', { uri: 'mem://one' });
		await br.notified('notifications/resources/updated');
		br.eof();
		await br.exited();
		assert.equal(srv.seen('DELETE').at(-1).headers['mcp-session-id'], again[1].headers['mcp-session-id']);
	});

	scenario('is made again once for twenty requests that meet the loss together', {}, async ({ srv, br }) => {
		await br.request('tools/list');
		await srv.standing();
		srv.forget();
		const calls = Array.from({ length: 20 }, (_, i) => br.call('echo', { text: `n${i}` }));
		for (const [i, c] of calls.entries()) assertText(await c, `n${i}`);
		assert.equal(srv.seen('initialize').length, 2);
	});

	scenario('is made again at most once for one request', {}, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.json(rpc(-32001, 'Session not found'), { status: 404 }));
		assertFailure(await br.call('append'));
		assert.ok(srv.seen('tools/call').length <= 2, `${srv.seen('tools/call').length} attempts`);
		assert.ok(srv.seen('initialize').length <= 3);
		srv.clear();
		assertText(await br.call('echo', { text: 'lives' }), 'lives');
	});

	scenario('five times within a minute is enough: further ones are failures with backoff', { args: ['--max-retries', '3'] }, async ({ srv, br }) => {
		await br.call('echo');
		srv.when((e) => e.kind === 'tools/call' || e.kind === 'GET', (e) => e.json(rpc(-32001, 'Session not found'), { status: 404 }));
		for (let i = 0; i < 12; i++) assertFailure(await br.call('append'));
		assert.ok(srv.seen('initialize').length <= 14, `${srv.seen('initialize').length} initialisations for 12 calls`);
	});

	scenario('whose initialize is refused at first is tried again', {}, async ({ srv, br }) => {
		await srv.standing();
		srv.forget();
		srv.first('initialize', (e) => e.reply(503), 2);
		assertText(await br.call('echo', { text: 'after' }), 'after');
		assert.equal(srv.seen('initialize').length, 4);
	});

	scenario('whose initialize gets an error answer at first is tried again', {}, async ({ srv, br }) => {
		await srv.standing();
		srv.forget();
		srv.first('initialize', (e) => e.error(-32603, 'not yet'));
		assertText(await br.call('echo', { text: 'after' }), 'after');
	});

	for (const [what, refuse] of Object.entries({
		404: (e) => e.reply(404),
		405: (e) => e.reply(405),
		501: (e) => e.reply(501),
		'an error with status 500': (e) => e.json({ jsonrpc: '2.0', id: null, error: { code: -32603, message: 'starting' } }, { status: 500 }),
	}))
		scenario(`whose initialize is refused with ${what} for a while, as by a gateway before a server that starts, is made in the end`, {}, async ({ srv, br }) => {
			await srv.standing();
			const refused = srv.when('initialize', refuse, 6);
			srv.when('GET', (e) => (refused.left ? e.reply(404) : false));
			srv.forget();
			assertText(await br.call('echo', { text: 'again' }), 'again');
			assert.equal(refused.hits.length, 6);
			srv.clear();
			await srv.standing();
			assertText(await br.call('echo', { text: 'next' }), 'next');
		});

	for (const [was, is] of [['/mcp', '/sse'], ['/sse', '/mcp']])
		scenario(`that stood at ${was} is made anew when the server comes back with what was at ${is}`, {
			server: { mode: 'both' }, url: (srv) => `${srv.origin}${was}` }, async ({ srv, br }) => {
			await srv.standing();
			const from = srv.exchanges.length;
			srv.when((e) => e.path === was, (e) => {
				if (is === '/sse' ? e.method === 'POST' : e.method === 'GET' && !e.headers['mcp-session-id']) return void e.reply(404);
				e.path = is;
				return void srv.serve(e);
			});
			srv.forget();
			srv.cut();
			assertText(await br.call('echo', { text: 'again' }), 'again');
			assertText(await br.call('echo', { text: 'next' }), 'next');
			if (is === '/sse') assert.ok(srv.exchanges.slice(from).filter((e) => e.kind === 'initialize' && e.path !== was).every((e) => e.headers['mcp-session-id'] === undefined));
		});

	scenario('drops a subscription that is refused, with a line in the log', {}, async ({ srv, br }) => {
		for (const uri of ['mem://one', 'mem://two']) await br.request('resources/subscribe', { uri });
		srv.when((e) => e.kind === 'resources/subscribe' && e.message.params.uri === 'mem://one', (e) => e.error(-32602, 'no such resource'));
		srv.forget();
		assertText(await br.call('echo', { text: 'after' }), 'after');
		await until(() => srv.session.subscriptions.has('mem://two'), 3000, 'the other subscription');
		await br.logged(/subscri/i);
		srv.forget();
		const before = srv.seen('resources/subscribe').length;
		assertText(await br.call('echo', { text: 'again' }), 'again');
		await until(() => srv.session.subscriptions.has('mem://two'), 3000, 'the other subscription again');
		assert.ok(!srv.seen('resources/subscribe').slice(before).some((e) => e.message.params.uri === 'mem://one'), 'dropped for good');
	});

	scenario('takes the version that the new session speaks', { version: '2025-11-25' }, async ({ srv, br }) => {
		await br.call('echo');
		srv.options.version = '2025-06-18';
		srv.forget();
		await br.call('echo');
		await br.call('echo');
		const last = srv.seen('tools/call').at(-1);
		assert.ok(last.headers['mcp-protocol-version'] === '2025-06-18' || last.headers['mcp-protocol-version'] === undefined);
	});

	for (const lost of [false, true]) {
		scenario(`of a call whose question is open, lost by another request: the answer goes to the session that asked${lost ? ', and the call is told when that has gone' : ''}`, { server: { respond: 'sse' } }, async ({ srv, br }) => {
			const [first] = srv.sessions.keys();
			let answer;
			br.handlers['elicitation/create'] = () => new Promise((ok) => { answer = () => ok({ result: { action: 'decline' } }); });
			const c = br.call('ask', { method: 'elicitation/create', params: { message: 'who?', requestedSchema: { type: 'object', properties: {} } } });
			await until(() => answer, 5000, 'the question');
			srv.when((e) => e.kind === 'tools/call' && e.headers['mcp-session-id'] === first, (e) => e.reply(404), 1);
			assertText(await br.call('echo', { text: 'x' }), 'x');
			if (lost) srv.when((e) => e.headers['mcp-session-id'] === first, (e) => e.reply(404));
			answer();
			if (lost) assertFailure(await c, 'outcome_unknown');
			else assertResult(await c);
		});
	}

	for (const asked of [{}, { others: 2 }]) {
		scenario(`of a call whose question is open, lost by the answer to it: the call is told${asked.others ? ', and no other' : ''}`, { server: { respond: 'sse' }, args: ['--tool-errors', 'protocol'] }, async ({ srv, br }) => {
			let go;
			const gate = new Promise((ok) => { go = ok; });
			srv.onRequest = async (m) => { if (m.params?.name === 'put') await gate; };
			const others = Array.from({ length: asked.others ?? 0 }, () => br.call('put'));
			await srv.sees('tools/call:put', others.length);
			srv.when('answer', (e) => e.json({ jsonrpc: '2.0', id: null, error: { code: -32001, message: 'Session not found' } }, { status: 404 }));
			assertOwnError(await br.call('ask'), 'outcome_unknown');
			assert.equal(srv.ran('ask'), 1);
			go();
			for (const o of others) assertText(await o, 'set');
		});
	}

	scenario('that was replaced while a call runs in it gets the answer to what the call asks then', { server: { respond: 'sse' } }, async ({ srv, br }) => {
		const [first] = srv.sessions.keys();
		let go;
		const gate = new Promise((ok) => { go = ok; });
		srv.onRequest = async (m) => { if (m.params?.name === 'ask') await gate; };
		const c = br.call('ask');
		await srv.sees('tools/call:ask');
		srv.first('tools/call:echo', (e) => e.reply(404));
		assertText(await br.call('echo', { text: 'x' }), 'x');
		go();
		assertResult(await c);
		assert.deepEqual(srv.seen('answer').map((e) => e.headers['mcp-session-id']), [first]);
	});
});

describe('no lost session', { concurrency: 4 }, () => {
	scenario('is -32001 with the text of a timeout: it is passed on', {}, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.error(-32001, 'Request timed out'));
		const answer = await br.call('echo');
		assert.equal(answer.error?.code, -32001);
		assert.equal(answer.error.message, 'Request timed out');
		assert.equal(srv.seen('initialize').length, 1);
	});

	scenario('is a result that speaks of one', {}, async ({ srv, br }) => {
		for (const text of ['Session not found', '{"error":{"code":-32001,"message":"Session not found"}}', 'No valid session ID provided']) {
			srv.first('tools/call', (e) => e.result({ content: [{ type: 'text', text }], isError: true }));
			const answer = await br.call('echo');
			assert.equal(answer.result.content[0].text, text);
		}
		assert.equal(srv.seen('initialize').length, 1);
	});

	scenario('is a tool error about a session of its own', {}, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.error(-32602, 'unknown browser tab'));
		assert.equal((await br.call('echo')).error?.code, -32602);
		assert.equal(srv.seen('initialize').length, 1);
	});

	scenario('is a 404 where no session id was ever given', { server: { sessions: false } }, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.reply(404, {}, 'nothing'));
		assertFailure(await br.call('append'));
		assertText(await br.call('echo', { text: 'x' }), 'x');
	});
});

describe('after a session was made again', { concurrency: 4 }, () => {
	const kinds = { tools: 'tools/list', prompts: 'prompts/list', resources: 'resources/list' };
	for (const [member, method] of Object.entries(kinds))
		scenario(`list_changed of ${member} is sent where the list differs, and for no other`, {}, async ({ srv, br }) => {
			for (const m of Object.values(kinds)) await br.request(m);
			srv[member] = [...srv[member], { name: 'newcomer', uri: 'mem://new', inputSchema: { type: 'object' } }];
			srv.forget();
			await br.call('echo');
			await br.notified(`notifications/${member}/list_changed`);
			await never(() => br.notifications.length > 1, 250, 'another list_changed');
			assert.ok(srv.seen(method).length >= 2, 'the bridge lists again itself');
		});

	scenario('nothing is sent where nothing differs', {}, async ({ srv, br }) => {
		for (const m of Object.values(kinds)) await br.request(m);
		srv.forget();
		await br.call('echo');
		await until(() => Object.values(kinds).every((m) => srv.seen(m).length >= 2), 4000, 'the lists asked again');
		await never(() => br.notifications.length, 250, 'a notification');
	});

	scenario('only what the client had listed is compared', {}, async ({ srv, br }) => {
		await br.request('tools/list');
		srv.prompts = [];
		srv.forget();
		await br.call('echo');
		await until(() => srv.seen('tools/list').length >= 2, 4000, 'tools listed again');
		await never(() => srv.seen('prompts/list').length || br.notifications.length, 200, 'a list the client never asked for');
	});

	scenario('every page of a list is compared', {}, async ({ srv, br }) => {
		srv.pageSize = 2;
		let cursor;
		do { cursor = assertResult(await br.request('tools/list', cursor ? { cursor } : undefined)).nextCursor; } while (cursor);
		srv.tools[srv.tools.length - 1].description = 'changed on the last page';
		srv.forget();
		await br.call('echo');
		await br.notified('notifications/tools/list_changed');
	});

	scenario('resources/updated is sent for each live subscription', {}, async ({ srv, br }) => {
		for (const uri of ['mem://one', 'mem://two']) await br.request('resources/subscribe', { uri });
		srv.forget();
		await br.call('echo');
		const updates = await br.notified('notifications/resources/updated', 2);
		assert.deepEqual(updates.map((m) => m.params.uri).sort(), ['mem://one', 'mem://two']);
		await never(() => br.notifications.length > 2, 150, 'a third notification');
	});

	scenario('a version the client can not accept is told as an error on the next request', { version: '2025-06-18' }, async ({ srv, br }) => {
		await br.call('echo');
		srv.when('initialize', (e) => e.result({ protocolVersion: '1999-01-01', capabilities: {}, serverInfo: { name: 'x', version: '1' } }, { headers: { 'Mcp-Session-Id': 'x' } }));
		srv.forget();
		assertFailure(await br.call('append'));
		assert.equal(srv.ran('append'), 0);
		assert.ok(br.alive);
	});

	scenario('a list that pages for ever is given up', {}, async ({ srv, br }) => {
		await br.request('tools/list');
		srv.forget();
		srv.when('tools/list', (e) => e.result({ tools: [], nextCursor: 'again' }));
		await br.call('echo');
		await until(() => srv.seen('tools/list').length >= 2, 4000, 'tools listed again');
		assertText(await br.call('echo', { text: 'lives' }), 'lives');
		const before = srv.seen('tools/list').length;
		await never(() => srv.seen('tools/list').length > 1500, 600, 'pages without end');
		assert.ok(before < 1500);
	});
});

describe('a client that begins anew on the same stdin', { concurrency: 2 }, () => {
	scenario('has its old session given back, and hears nothing of the calls of before though it uses their ids', { version: '2025-06-18' }, async ({ srv, br }) => {
		await srv.standing();
		const old = srv.session.id;
		let held;
		srv.when('tools/call', (e) => { held = e.stream(); }, 1);
		br.raw('{"jsonrpc":"2.0","id":"again","method":"tools/call","params":{"name":"echo","arguments":{"text":"old"}}}');
		await until(() => held, 3000, 'a call that runs');
		await br.connect({ version: '2025-06-18' });
		const given = await until(() => srv.seen('DELETE')[0], 3000, 'the DELETE of the old session');
		assert.equal(given.headers['mcp-session-id'], old);
		await until(() => !held.open, 3000, 'the end of the old call');
		const answer = br.expect('again');
		br.raw('{"jsonrpc":"2.0","id":"again","method":"tools/call","params":{"name":"echo","arguments":{"text":"new"}}}');
		assertText(await answer, 'new');
		assert.equal(br.lines.filter((l) => l.message.id === 'again' && !l.message.method).length, 1);
		assert.notEqual(srv.session.id, old);
	});
});
