// Both sides of the translation between eras, and what happens when one of them
// does not keep to its own: loops, foreign states, eras mixed in one
// conversation, header annotations that would forge headers.
import { describe, scenario, assert, assertText, assertOwnError, textOf, until, never, pause, QUICK } from '../lib/scenario.mjs';

const VERSION = '2026-07-28';
const NS = 'io.modelcontextprotocol/';
const META = { [`${NS}protocolVersion`]: VERSION, [`${NS}clientInfo`]: { name: 'driver', version: '1' }, [`${NS}clientCapabilities`]: { elicitation: {}, sampling: {}, roots: {} } };
const FORM = { mode: 'form', message: 'name?', requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } };
const text = (value) => ({ resultType: 'complete', content: [{ type: 'text', text: String(value) }] });

/**
 * Makes a scripted server speak 2026-07-28 and nothing else. `results` maps a
 * method, or tools/call:NAME, to a result, an Error-like { code } or a function
 * of the exchange that gives one (or nothing, when it answered itself).
 */
function modern(srv, results = {}) {
	srv.wrong = [];
	const all = {
		'server/discover': { resultType: 'complete', supportedVersions: [VERSION], capabilities: { tools: { listChanged: true }, resources: { subscribe: true, listChanged: true } }, ttlMs: 0, cacheScope: 'private', instructions: 'be kind', _meta: { [`${NS}serverInfo`]: { name: 'scripted', version: '2' } } },
		'tools/list': () => ({ resultType: 'complete', tools: srv.tools, ttlMs: 0, cacheScope: 'private' }),
		'tools/call:echo': (ex) => text(ex.message.params.arguments?.text ?? ''),
		'subscriptions/listen': (ex) => { listen(ex); },
		...results,
	};
	srv.when(() => true, (ex) => {
		const m = ex.message, h = ex.headers;
		if (ex.method !== 'POST') { srv.wrong.push(ex.method); ex.reply(405); return; }
		if (!m?.params?._meta?.[`${NS}protocolVersion`]) { ex.json({ jsonrpc: '2.0', id: m?.id ?? null, error: { code: -32022, message: 'Unsupported protocol version', data: { supported: [VERSION], requested: m?.params?.protocolVersion } } }, { status: 400 }); return; }
		if (h['mcp-protocol-version'] !== m.params._meta[`${NS}protocolVersion`] || h['mcp-method'] !== m.method || h['mcp-session-id'] || h['last-event-id']) srv.wrong.push(ex.head);
		const key = `${m.method}:${ex.tool}`, rule = key in all ? all[key] : all[m.method];
		const r = typeof rule === 'function' ? rule(ex) : rule ?? { code: -32601, message: 'Method not found' };
		if (r?.code) ex.json(ex.envelope({ error: r }), { status: r.status ?? 200 });
		else if (r) ex.result(r);
	});
	return srv;
}
/** Opens a subscription's stream; `tell` writes a notification tagged with its id. */
function listen(ex, { ack = true } = {}) {
	const out = ex.stream(), tag = { _meta: { [`${NS}subscriptionId`]: ex.message.id } };
	out.tell = (method, params = {}) => out.event({ data: { jsonrpc: '2.0', method, params: { ...params, ...tag } } });
	ex.listening = out;
	if (ack) out.tell('notifications/subscriptions/acknowledged', { notifications: ex.message.params.notifications });
	return out;
}
const listening = (srv, n) => until(() => srv.seen('subscriptions/listen').filter((e) => e.listening?.open).length >= n && srv.seen('subscriptions/listen').filter((e) => e.listening?.open).map((e) => e.listening), 8000, `${n} open subscriptions`);
const ask = (br, method, params = {}, options) => br.request(method, { ...params, _meta: { ...META, ...params._meta } }, options);
const call = (br, name, args = {}, more = {}) => ask(br, 'tools/call', { name, arguments: args, ...more });
const tagged = (br, method, id) => br.notifications.filter((n) => n.method === method && n.params?._meta?.[`${NS}subscriptionId`] === id);
const NEEDS = (state) => ({ resultType: 'input_required', inputRequests: { who: { method: 'elicitation/create', params: FORM } }, requestState: state });
const given = { result: { action: 'accept', content: { name: 'Ada' } } };

const MODERN = { connect: false, before: ({ srv }) => modern(srv) };

describe('a legacy client on a server of 2026-07-28', () => {
	scenario('is asked what an input_required result wants, and the state comes back byte for byte', MODERN, async ({ srv, br }) => {
		const state = 'st"8\\ é 😀';
		srv.clear();
		modern(srv, { 'tools/call:ask': (ex) => ex.message.params.requestState === undefined ? NEEDS(state) : text(JSON.stringify([ex.message.params.requestState, ex.message.params.inputResponses])) });
		br.handlers['elicitation/create'] = () => given;
		await br.connect();
		assert.deepEqual(JSON.parse(textOf(await br.call('ask'))), [state, { who: given.result }]);
		const [first, second] = srv.seen('tools/call:ask');
		assert.notEqual(first.id, second.id);
		assert.notEqual(first.headers['idempotency-key'], second.headers['idempotency-key']); // or the first answer might be given again
		assert.deepEqual(srv.wrong, []);
	});
	for (const [what, args, size] of [['is larger than what may wait', [], 9e6], ['fills the queue', ['--max-queue', '1'], 10]])
		scenario(`is still heard when the call that is asked about ${what}`, { ...MODERN, args }, async ({ srv, br }) => {
			srv.clear();
			modern(srv, { 'tools/call:ask': (ex) => ex.message.params.inputResponses ? text('done') : NEEDS('s') });
			br.handlers['elicitation/create'] = () => given;
			await br.connect();
			assertText(await br.call('ask', { data: 'x'.repeat(size) }), 'done');
		});
	scenario('may take its time while the line is down', { ...MODERN, args: ['--hold-time', '600', '--breaker-threshold', '0'] }, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'tools/call:ask': (ex) => ex.message.params.inputResponses ? text('done') : NEEDS('s') });
		br.handlers['elicitation/create'] = () => undefined;
		await br.connect();
		const c = br.call('ask');
		await until(() => br.asks.length === 1);
		await srv.stop();
		await br.logged(/ready > wait/);
		assert.match((await br.call('echo')).raw, /upstream_unavailable/); // longer than the hold time
		await srv.listen(srv.port);
		br.signal('SIGUSR2');
		await br.logged(/connection is back/);
		br.raw(JSON.stringify({ jsonrpc: '2.0', id: br.asks[0].id, ...given }));
		assertText(await c, 'done');
	});
	scenario('is not led in a circle: 16 rounds, then a clear error', MODERN, async ({ srv, br }) => {
		let n = 0;
		srv.clear();
		modern(srv, { 'tools/call:ask': () => NEEDS(`round ${++n}`) });
		br.handlers['elicitation/create'] = () => given;
		await br.connect();
		const answer = await br.call('ask');
		assert.ok(answer.result?.isError || answer.error, answer.raw);
		assert.match(answer.raw, /kept asking/);
		assert.equal(br.asks.length, 16);
		assert.equal(n, 17);
		assertText(await br.call('echo', { text: 'still there' }), 'still there');
	});
	scenario('without the capability gets an error, and no question', { ...MODERN }, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'tools/call:ask': () => NEEDS('s') });
		await br.connect({ capabilities: {} });
		assert.match((await br.call('ask')).raw, /unsupported|can not give/);
		assert.equal(br.asks.length, 0);
	});
	scenario('is given an id for an address that is to be visited, as its revision has it', MODERN, async ({ srv, br }) => {
		const URL = { mode: 'url', message: 'go', url: 'https://example.com/' };
		srv.clear();
		modern(srv, { 'tools/call:ask': (ex) => ex.message.params.inputResponses ? text('done') : { resultType: 'input_required', inputRequests: { a: { method: 'elicitation/create', params: URL }, b: { method: 'elicitation/create', params: URL }, c: { method: 'elicitation/create', params: FORM } } } });
		br.handlers['elicitation/create'] = () => ({ result: { action: 'accept' } });
		await br.connect({ version: '2025-11-25', capabilities: { elicitation: { form: {}, url: {} } } });
		assertText(await br.call('ask'), 'done');
		const [{ elicitationId: a, ...one }, { elicitationId: b, ...two }, form] = br.asks.map((m) => m.params);
		assert.deepEqual([one, two, form], [URL, URL, FORM]);
		assert.ok(typeof a === 'string' && typeof b === 'string' && a !== b);
	});
	scenario('gets schemas and structured content as its revision has them, also from memory', MODERN, async ({ srv, br, bridge, scratch }) => {
		const array = { name: 'array', inputSchema: { type: 'object' }, outputSchema: { type: 'array' } }, any = { name: 'any', inputSchema: { type: 'object' }, outputSchema: { anyOf: [{ type: 'object' }] } };
		srv.tools = [...srv.tools, array, any, { ...array, name: 'object', outputSchema: { type: 'object' } }];
		const more = [[1.5, 'a'], null, { a: [1] }], plain = srv.tools.map(({ outputSchema, ...t }) => outputSchema?.type === 'object' ? { ...t, outputSchema } : t);
		srv.clear();
		modern(srv, { 'tools/call:any': (ex) => ({ ...text('x'), structuredContent: more[ex.message.params.arguments.n] }) });
		await br.connect();
		assert.deepEqual((await br.request('tools/list')).result.tools, plain);
		for (const [n, want] of [{ result: more[0] }, { result: null }, more[2]].entries()) assert.deepEqual((await br.call('any', { n })).result.structuredContent, want);
		await br.finish();
		await srv.stop();
		const later = bridge([srv.url, ...QUICK, '--initialize-wait', '100'], { scratch });
		await later.connect();
		assert.deepEqual((await later.request('tools/list')).result.tools, plain);
	});
	scenario('that stops a call while it is asked is not asked again, and nothing more is sent', MODERN, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'tools/call:ask': () => NEEDS('s') });
		br.handlers['elicitation/create'] = () => undefined;
		await br.connect();
		const c = br.call('ask');
		await until(() => br.asks.length === 1);
		br.cancel(c);
		const [told] = await br.notified('notifications/cancelled');
		assert.equal(told.params.requestId, br.asks[0].id);
		br.raw(JSON.stringify({ jsonrpc: '2.0', id: br.asks[0].id, ...given }));
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.equal(srv.seen('tools/call:ask').length, 1);
	});
	scenario('that answers a question nobody asked changes nothing', MODERN, async ({ srv, br }) => {
		await br.connect();
		for (const id of ['hf-in-00000000-1', 0, 'ask-1']) br.raw(JSON.stringify({ jsonrpc: '2.0', id, ...given }));
		br.raw(JSON.stringify({ jsonrpc: '2.0', id: 7, error: { code: 1, message: 'no' } }));
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.equal(srv.seen('answer').length, 0);
		assert.deepEqual(srv.wrong, []);
	});
	scenario('sets a level that there is, for its own conversation', MODERN, async ({ srv, br }) => {
		const sent = () => srv.seen('tools/call').at(-1).message.params._meta[`${NS}logLevel`];
		await br.connect();
		assert.equal((await br.request('logging/setLevel', { level: 'chatty' })).error.code, -32602);
		await br.call('echo');
		assert.equal(sent(), undefined);
		assert.ok((await br.request('logging/setLevel', { level: 'notice' })).result);
		await br.call('echo');
		assert.equal(sent(), 'notice');
		await br.connect();
		await br.call('echo');
		assert.equal(sent(), undefined);
	});
	scenario('with params that are no object is told so', MODERN, async ({ srv, br }) => {
		await br.connect();
		assert.equal((await br.request('prompts/list', [1, 2])).error.code, -32602);
		assert.equal(srv.seen('prompts/list').length, 0);
	});
	scenario('works while its subscription is never acknowledged', MODERN, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'subscriptions/listen': (ex) => { listen(ex, { ack: false }); } });
		await br.connect();
		await listening(srv, 1);
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.ok((await br.request('resources/subscribe', { uri: 'mem://one' })).result);
		assertText(await br.call('echo', { text: 'y' }), 'y');
	});
	scenario('is told once, without the tag, and again of what may have been missed', MODERN, async ({ srv, br }) => {
		await br.connect();
		await br.request('tools/list');
		assert.ok((await br.request('resources/subscribe', { uri: 'mem://one' })).result);
		const stream = await until(() => srv.seen('subscriptions/listen').find((e) => e.listening?.open && e.message.params.notifications.resourceSubscriptions)?.listening, 8000, 'a subscription to the resource');
		stream.tell('notifications/resources/updated', { uri: 'mem://one' });
		const [told] = await br.notified('notifications/resources/updated');
		assert.deepEqual(told.params, { uri: 'mem://one' });
		srv.tools = [...srv.tools, { name: 'fresh', inputSchema: { type: 'object' } }];
		stream.reset();
		await br.notified('notifications/resources/updated', 2);
		await br.notified('notifications/tools/list_changed');
	});
	const open = (srv) => srv.seen('subscriptions/listen').filter((e) => e.listening?.open);
	const wishes = (e) => e.message.params.notifications.resourceSubscriptions ?? [];
	scenario('keeps its subscription when the server ends it', MODERN, async ({ srv, br }) => {
		await br.connect();
		await listening(srv, 1);
		const [ex] = open(srv);
		ex.listening.event({ data: { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: ex.message.id } } });
		ex.listening.event({ data: ex.envelope({ result: { resultType: 'complete' } }) }).end();
		await srv.sees('subscriptions/listen', 2);
		(await listening(srv, 1)).at(-1).tell('notifications/tools/list_changed');
		await br.notified('notifications/tools/list_changed');
		assert.equal(br.notifications.filter((n) => n.method === 'notifications/cancelled').length, 0);
	});
	scenario('is not asked to read everything again by a server that ends each subscription at once', { ...MODERN, args: ['--max-retry-delay', '30s'] }, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'subscriptions/listen': (ex) => { const out = listen(ex); setTimeout(() => out.end(), 10); } });
		await br.connect();
		await br.request('tools/list');
		await br.request('resources/subscribe', { uri: 'mem://one' });
		await pause(2500);
		assert.ok(srv.seen('subscriptions/listen').length < 15, `${srv.seen('subscriptions/listen').length} subscriptions`);
		assert.ok(srv.seen('tools/list').length <= 2, `${srv.seen('tools/list').length} lists`);
		assert.ok(br.notifications.length <= 1, `${br.notifications.length} notifications`);
	});
	scenario('hears of what it missed when it subscribes to something else meanwhile', MODERN, async ({ srv, br }) => {
		await br.connect();
		await br.request('tools/list');
		await br.request('resources/subscribe', { uri: 'mem://one' });
		await until(() => open(srv).some((e) => wishes(e).length === 1));
		await br.logged(/subscription|ready/);
		await srv.stop();
		await br.logged(/ready > wait/);
		const sub = br.request('resources/subscribe', { uri: 'mem://two' });
		srv.when((e) => e.kind === 'subscriptions/listen' && wishes(e).length < 2, (e) => { e.reply(503); }); // the older one comes too late
		await srv.listen(srv.port);
		assert.ok((await sub).result);
		await until(() => br.notifications.some((n) => n.params?.uri === 'mem://one'), 4000, 'what may have changed');
	});
	scenario('that subscribes to much in a row makes few subscriptions of it', MODERN, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'subscriptions/listen': (ex) => { const out = listen(ex, { ack: false }); setTimeout(() => out.tell('notifications/subscriptions/acknowledged', { notifications: {} }), 30); } });
		await br.connect();
		for (let i = 0; i < 200; i++) assert.ok((await br.request('resources/subscribe', { uri: `mem://${i}` })).result);
		await until(() => open(srv).length === 1 && wishes(open(srv)[0]).length === 200);
		assert.ok(srv.seen('subscriptions/listen').length < 60, `${srv.seen('subscriptions/listen').length} subscriptions`);
	});
	scenario('is subscribed all the time while the set grows', MODERN, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'subscriptions/listen': (ex) => { const out = listen(ex, { ack: false }); setTimeout(() => { out.acked = true; out.tell('notifications/subscriptions/acknowledged', { notifications: {} }); }, 250); } });
		await br.connect();
		await until(() => open(srv).some((e) => e.listening.acked));
		const holes = [], timer = setInterval(() => { if (!open(srv).some((e) => e.listening.acked)) holes.push(performance.now()); }, 10);
		for (const u of ['a', 'b', 'c']) { await br.request('resources/subscribe', { uri: `mem://${u}` }); await pause(60); }
		await until(() => open(srv).length === 1 && open(srv).some((e) => e.listening.acked && wishes(e).length === 3));
		clearInterval(timer);
		assert.deepEqual(holes, []);
	});
});

describe('tools whose header annotations are not valid', () => {
	const annotated = (name, header) => ({ name, inputSchema: { type: 'object', properties: { a: { type: 'string', 'x-mcp-header': header } } } });
	const many = { name: 'many', inputSchema: { type: 'object', properties: Object.fromEntries(Array.from({ length: 10000 }, (_, i) => [`p${i}`, { type: 'string', 'x-mcp-header': `H${i}` }])) } };
	const tools = [annotated('good', 'Region'), annotated('forger', 'X\r\nX-Forged: yes'), annotated('feeder', 'A\nB'), annotated('spacer', 'a b'), annotated('empty', ''), many];
	for (const [who, connect, list, run] of [
		['a legacy client', (br) => br.connect(), (br) => br.request('tools/list'), (br, n) => br.call(n, { a: 'eu\r\nX-Forged: yes', p1: 'v' })],
		['a modern client', (br) => ask(br, 'server/discover'), (br) => ask(br, 'tools/list'), (br, n) => call(br, n, { a: 'eu\r\nX-Forged: yes', p1: 'v' })],
	])
		scenario(`are hidden from ${who} with a warning, and forge nothing`, { connect: false }, async ({ srv, br }) => {
			srv.tools = tools;
			modern(srv, { 'tools/call': (ex) => text(ex.headers['mcp-param-region'] ?? 'none') });
			await connect(br);
			assert.deepEqual((await list(br)).result.tools.map((t) => t.name), ['good']);
			for (const t of tools.slice(1)) assert.match(br.stderr, new RegExp(`'${t.name}' is hidden`));
			assert.equal(textOf(await run(br, 'good')), `=?base64?${Buffer.from('eu\r\nX-Forged: yes').toString('base64')}?=`);
			for (const t of tools.slice(1)) await run(br, t.name);
			for (const ex of srv.exchanges) assert.equal(ex.headers['x-forged'], undefined);
			assert.ok(srv.seen('tools/call').slice(1).every((e) => !Object.keys(e.headers).some((h) => h.startsWith('mcp-param-'))));
		});
	scenario('-32020 is answered by listing again and one more try', { connect: false }, async ({ srv, br }) => {
		srv.tools = [annotated('good', 'Region')];
		modern(srv, { 'tools/call:good': (ex) => ex.headers['mcp-param-zone'] ? text(ex.headers['mcp-param-zone']) : { code: -32020, message: 'Header mismatch', status: 400 } });
		await ask(br, 'server/discover');
		await ask(br, 'tools/list');
		srv.tools = [annotated('good', 'Zone')];
		assert.equal(textOf(await call(br, 'good', { a: 'eu' })), 'eu');
		assert.equal(srv.seen('tools/call:good').length, 2);
		assert.equal(srv.seen('tools/list').length, 2);
	});
	const zoned = { 'tools/call:good': (ex) => ex.headers['mcp-param-zone'] ? text(ex.headers['mcp-param-zone']) : { code: -32020, message: 'Header mismatch', status: 400 } };
	scenario('-32020 heals calls that are made at once, with one list', { connect: false }, async ({ srv, br }) => {
		srv.tools = [annotated('good', 'Region')];
		modern(srv, { ...zoned, 'tools/list': (ex) => { setTimeout(() => ex.result({ resultType: 'complete', tools: srv.tools, ttlMs: 0, cacheScope: 'private' }), 100); } });
		await ask(br, 'server/discover');
		await ask(br, 'tools/list');
		srv.tools = [annotated('good', 'Zone')];
		const calls = ['a', 'b', 'c'].map((a) => call(br, 'good', { a }));
		for (const [i, c] of calls.entries()) assertText(await c, 'abc'[i]);
		assert.equal(srv.seen('tools/list').length, 2);
	});
	scenario('-32020 looks through all pages of the list', { connect: false }, async ({ srv, br }) => {
		srv.tools = [annotated('first', 'Region'), annotated('good', 'Region')];
		modern(srv, { ...zoned, 'tools/list': (ex) => { const n = Number(ex.message.params.cursor ?? 0); return { resultType: 'complete', tools: [srv.tools[n]], ...(n ? {} : { nextCursor: '1' }), ttlMs: 0, cacheScope: 'private' }; } });
		await ask(br, 'server/discover');
		await ask(br, 'tools/list');
		await ask(br, 'tools/list', { cursor: '1' });
		srv.tools = [annotated('first', 'Region'), annotated('good', 'Zone')];
		assertText(await call(br, 'good', { a: 'eu' }), 'eu');
	});
	scenario('-32020 and a line that breaks while the tools are listed do not leave the call behind', { connect: false }, async ({ srv, br }) => {
		srv.tools = [annotated('good', 'Region')];
		modern(srv, zoned);
		await ask(br, 'server/discover');
		await ask(br, 'tools/list');
		srv.tools = [annotated('good', 'Zone')];
		srv.first('tools/list', (ex) => { ex.silence(); });
		const c = call(br, 'good', { a: 'eu' });
		await srv.sees('tools/list', 2);
		br.signal('SIGUSR2');
		assertText(await c, 'eu');
	});
	scenario('-32020 again is passed on', { connect: false }, async ({ srv, br }) => {
		srv.tools = [annotated('good', 'Region')];
		modern(srv, { 'tools/call:good': { code: -32020, message: 'Header mismatch', status: 400 } });
		await ask(br, 'server/discover');
		await ask(br, 'tools/list');
		assert.equal((await call(br, 'good', { a: 'eu' })).error?.code, -32020);
		assert.equal(srv.seen('tools/call:good').length, 2);
		assert.equal(srv.seen('tools/list').length, 2);
	});
});

describe('subscriptions of a modern client', () => {
	const want = (br, id, notifications) => ask(br, 'subscriptions/listen', { notifications }, { id });
	scenario('several at once keep their own ids, also after the line broke, and hear what they missed', MODERN, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		await ask(br, 'tools/list');
		for (const [id, f] of [['tools', { toolsListChanged: true }], [7, { resourceSubscriptions: ['mem://one'] }]]) { want(br, id, f); br.cancelled.add(JSON.stringify(id)); }
		await listening(srv, 2);
		await until(() => tagged(br, 'notifications/subscriptions/acknowledged', 'tools').length === 1 && tagged(br, 'notifications/subscriptions/acknowledged', 7).length === 1);
		srv.tools = [...srv.tools, { name: 'fresh', inputSchema: { type: 'object' } }];
		srv.cut('reset');
		const again = await until(() => srv.seen('subscriptions/listen').filter((e) => e.listening?.open).length === 2 && srv.seen('subscriptions/listen').filter((e) => e.listening?.open), 8000, 'both again');
		await until(() => tagged(br, 'notifications/resources/updated', 7).length >= 1, 8000, 'what may have changed');
		await until(() => tagged(br, 'notifications/tools/list_changed', 'tools').length >= 1, 8000, 'what has changed');
		again.find((e) => e.message.params.notifications.toolsListChanged).listening.tell('notifications/tools/list_changed');
		await until(() => tagged(br, 'notifications/tools/list_changed', 'tools').length >= 2);
		// One acknowledgement each, and nothing under an id the client never used.
		assert.equal(br.notifications.filter((n) => /acknowledged/.test(n.method)).length, 2);
		assert.ok(br.notifications.every((n) => ['tools', 7].includes(n.params._meta[`${NS}subscriptionId`])), JSON.stringify(br.notifications));
		assert.deepEqual(srv.wrong, []);
	});
	scenario('the server may end one in good order, or cancel it, and it is not opened again', MODERN, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const one = want(br, 'one', { toolsListChanged: true }), two = want(br, 'two', { toolsListChanged: true });
		br.cancelled.add('"two"');
		await listening(srv, 2);
		const [a, b] = ['one', 'two'].map((id) => srv.seen('subscriptions/listen').find((e) => e.message.id === id));
		a.listening.event({ data: a.envelope({ result: { resultType: 'complete', _meta: { [`${NS}subscriptionId`]: 'one' } } }) }).end();
		assert.equal((await one).result._meta[`${NS}subscriptionId`], 'one');
		b.listening.event({ data: { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'two' } } });
		const [told] = await br.notified('notifications/cancelled');
		assert.equal(told.params.requestId, 'two');
		b.listening.end();
		await never(() => srv.seen('subscriptions/listen').length > 2, 600);
		void two;
	});
	scenario('one that is never acknowledged holds nothing up and can be cancelled', MODERN, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'subscriptions/listen': (ex) => { listen(ex, { ack: false }); } });
		await ask(br, 'server/discover');
		const l = want(br, 'mute', { toolsListChanged: true });
		const [stream] = await listening(srv, 1);
		assertText(await call(br, 'echo', { text: 'x' }), 'x');
		br.cancel(l);
		await until(() => !stream.open, 4000, 'the end of the stream');
		assert.equal(srv.seen('notifications/cancelled').length, 0);
	});
});

describe('an error of the bridge for a call of a modern client', () => {
	for (const [name, setup] of [['a modern server', MODERN], ['a legacy server', { connect: false, server: { respond: 'sse' } }]])
		scenario(`is a complete result like any other (${name})`, setup, async ({ srv, br }) => {
			await ask(br, 'server/discover');
			srv.when('tools/call:append', (ex) => { ex.reset(); });
			const { result } = await call(br, 'append');
			assert.equal(result.isError, true);
			assert.equal(result.resultType, 'complete');
		});
});

describe('notifications of a modern client, which only extensions have', () => {
	const OWN = '{"jsonrpc":"2.0", "method":"notifications/vendor/own","params":{"n":1.0}}';
	for (const [what, setup, taken] of [['reach a server of 2026-07-28 as they are', MODERN, [OWN]], ['are not for an older one', { connect: false }, []]])
		scenario(what, setup, async ({ srv, br }) => {
			srv.when('notifications/vendor/own', (ex) => ex.reply(202));
			await ask(br, 'server/discover');
			br.raw(OWN);
			br.notify('notifications/initialized');
			assertText(await call(br, 'echo', { text: 'x' }), 'x');
			const seen = srv.seen('notifications/vendor/own');
			assert.deepEqual(seen.map((e) => e.text), taken);
			for (const { headers: h } of seen) assert.deepEqual([h['mcp-protocol-version'], h['mcp-method']], [VERSION, 'notifications/vendor/own']);
			assert.equal(srv.seen('notifications/initialized').length, taken.length ? 0 : 1); // of the bridge's own
			assert.deepEqual(srv.wrong ?? [], []);
		});
});

describe('the end of stdin', () => {
	for (const [name, setup] of [['a modern server', MODERN], ['a legacy server', { connect: false, server: { respond: 'sse' } }]])
		scenario(`does not wait for the end of a subscription (${name})`, setup, async ({ br }) => {
			await ask(br, 'server/discover');
			ask(br, 'subscriptions/listen', { notifications: { toolsListChanged: true } });
			await br.notified('notifications/subscriptions/acknowledged');
			br.eof();
			assert.ok((await br.exited()).ms < 4000); // five seconds, when it waits
		});
	scenario('does not wait for an input that can not come any more', MODERN, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'tools/call:ask': () => NEEDS('s') });
		br.handlers['elicitation/create'] = () => undefined;
		await br.connect();
		const c = br.call('ask');
		await until(() => br.asks.length === 1);
		br.eof();
		assert.match((await c).raw, /shutting_down/);
		assert.ok((await br.exited()).ms < 4000); // five seconds, when it waits
	});
});

describe('a server of 2026-07-28 that does not keep to it', () => {
	scenario('gives session ids and event ids and never gets them back', MODERN, async ({ srv, br }) => {
		srv.clear();
		let n = 0;
		modern(srv, {
			'tools/list': (ex) => {
				const out = ex.stream({ headers: { 'Mcp-Session-Id': 'sticky' } });
				out.event({ id: `ev-${++n}`, data: '' });
				if (n === 1) { out.fin(); return; }
				out.event({ id: 'ev-9', data: ex.envelope({ result: { resultType: 'complete', tools: [], ttlMs: 0, cacheScope: 'private' } }) }).end();
			},
		});
		await ask(br, 'server/discover');
		assert.deepEqual((await ask(br, 'tools/list')).result.tools, []);
		assert.equal(n, 2);
		assert.deepEqual(srv.wrong, []);
	});
	scenario('asks the client by a request of its own and is ignored', MODERN, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'tools/call:echo': (ex) => { ex.stream().event({ data: { jsonrpc: '2.0', id: 1, method: 'elicitation/create', params: FORM } }).event({ data: ex.envelope({ result: text('done') }) }).end(); } });
		await ask(br, 'server/discover');
		assert.equal(textOf(await call(br, 'echo')), 'done');
		assert.equal(br.asks.length, 0);
	});
	scenario('has errors of its own with a code of another era, and is doubted now and then', { ...MODERN, args: ['--max-retry-delay', '30s'] }, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'tools/call:append': { code: -32000, message: 'of the application', status: 400 } });
		await ask(br, 'server/discover');
		for (let i = 0; i < 5; i++) assert.equal((await call(br, 'append')).error.code, -32000);
		assertText(await call(br, 'echo', { text: 'x' }), 'x');
		assert.equal(srv.seen('tools/call:append').length, 5);
		assert.equal(srv.seen('server/discover').length, 3);
		assert.doesNotMatch(br.stderr, /another protocol era/);
	});
	scenario('answers with the wrong type of content, and one clear error follows', MODERN, async ({ srv, br }) => {
		srv.clear();
		modern(srv, { 'tools/call:append': (ex) => { ex.reply(200, { 'Content-Type': 'text/html' }, '<html>hello</html>'); } });
		await ask(br, 'server/discover');
		assert.match((await call(br, 'append')).raw, /outcome_unknown|bad_upstream|may have/i);
		assert.equal(srv.seen('tools/call:append').length, 1);
	});
});

describe('a modern client on a legacy server', () => {
	const LEGACY = { connect: false, server: { respond: 'sse' } };
	const question = async (br) => {
		const first = await call(br, 'ask', { method: 'elicitation/create', params: FORM });
		assert.equal(first.result?.resultType, 'input_required', first.raw);
		const [key, value] = Object.entries(first.result.inputRequests)[0];
		assert.equal(value.method, 'elicitation/create');
		return { inputResponses: { [key]: given.result }, requestState: first.result.requestState };
	};
	scenario('answers a question by a retry, once', LEGACY, async ({ srv, br }) => {
		assert.equal((await ask(br, 'server/discover')).result.supportedVersions[0], VERSION);
		const q = await question(br);
		const second = await call(br, 'ask', { method: 'elicitation/create', params: FORM }, q);
		assert.equal(second.result.resultType, 'complete');
		assert.deepEqual(JSON.parse(textOf(second)), given.result);
		assert.equal(srv.answers.length, 1);
		assert.equal(srv.ran('ask'), 1);
		// The same retry once more: the call has ended, and it is not known to be harmless to repeat.
		assert.match((await call(br, 'ask', { method: 'elicitation/create', params: FORM }, q)).raw, /outcome_unknown|may have/i);
		assert.equal(srv.ran('ask'), 1);
		assert.equal(br.asks.length, 0);
	});
	scenario('with a state that was tampered with, is foreign or belongs to another call gets an error, and the server nothing', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const q = await question(br), args = { method: 'elicitation/create', params: FORM };
		const flip = (s, i) => s.slice(0, i) + (s[i] === 'A' ? 'B' : 'A') + s.slice(i + 1);
		for (const requestState of [flip(q.requestState, 10), flip(q.requestState, q.requestState.length - 10), q.requestState.slice(0, -4), `${q.requestState}AAAA`, 'hf1.', 'hf1.AAAA', 'another', '', 7, null, { a: 1 }, 'x'.repeat(100000)]) {
			const answer = await call(br, 'ask', args, { ...q, requestState });
			assert.equal(answer.error?.code, -32602, `${JSON.stringify(requestState).slice(0, 60)}: ${answer.raw.slice(0, 200)}`);
		}
		assert.equal((await call(br, 'echo', { text: 'x' }, q)).error?.code, -32602);
		assert.equal((await call(br, 'ask', { other: 1 }, q)).error?.code, -32602);
		assert.equal(srv.answers.length, 0);
		assert.equal(srv.ran('ask'), 1);
		assert.deepEqual(JSON.parse(textOf(await call(br, 'ask', args, q))), given.result);
	});
	scenario('gives its input though no more requests may be under way than the one that waits for it', { ...LEGACY, args: ['--max-in-flight', '1'] }, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const q = await question(br);
		assertText(await call(br, 'echo', { text: 'meanwhile' }), 'meanwhile');
		assert.deepEqual(JSON.parse(textOf(await call(br, 'ask', { method: 'elicitation/create', params: FORM }, q))), given.result);
		assertText(await call(br, 'echo', { text: 'after' }), 'after');
		assert.equal(srv.answers.length, 1);
	});
	scenario('hears log messages of the requests that ask for them, at their own level', LEGACY, async ({ srv, br }) => {
		const level = (l) => ({ _meta: { [`${NS}logLevel`]: l } }), held = {};
		srv.when('tools/call:slow', (ex) => { held[ex.message.params.arguments.tag] = ex; ex.out = ex.stream(); });
		const say = (tag) => ['debug', 'error'].forEach((l) => held[tag].out.event({ data: { jsonrpc: '2.0', method: 'notifications/message', params: { level: l, data: tag } } }));
		const end = (tag) => held[tag].out.event({ data: held[tag].envelope({ result: { content: [] } }) }).end();
		await ask(br, 'server/discover');
		const calls = [['debug', level('debug')], ['error', level('error')], ['none', {}]].map(([tag, more]) => call(br, 'slow', { tag }, more));
		await until(() => Object.keys(held).length === 3);
		['debug', 'error', 'none'].forEach((tag) => { say(tag); end(tag); });
		for (const c of calls) assert.ok((await c).result);
		assert.deepEqual(br.notifications.filter((n) => n.method === 'notifications/message').map((n) => `${n.params.data}:${n.params.level}`).sort(), ['debug:debug', 'debug:error', 'error:error']);
		assert.deepEqual(srv.seen('logging/setLevel').map((e) => e.message.params.level), ['debug']); // the other one does not take it back
		srv.notify('notifications/message', { level: 'error', data: 'overtaken by the answer' });
		await br.notified('notifications/message', 4);
		assert.equal((await call(br, 'echo', {}, level('chatty'))).error.code, -32602);
	});
	for (const [what, params, method, caps] of [
		['what no client is asked', {}, 'custom/thing'], ['what it has not said it can do', FORM, 'elicitation/create', {}],
		['for an address when it takes forms only', { mode: 'url', message: 'm', url: 'https://example.com/', elicitationId: 'e' }, 'elicitation/create'],
		['for a form when it takes addresses only', { message: 'm', requestedSchema: {} }, 'elicitation/create', { elicitation: { url: {} } }]])
		scenario(`is not asked ${what}`, LEGACY, async ({ srv, br }) => {
			const answer = await call(br, 'ask', { method, params }, caps ? able(caps) : {});
			assert.match(textOf(answer), /-32601/);
			assert.equal(answer.result.resultType, 'complete');
		});
	const able = (caps) => ({ _meta: { [`${NS}clientCapabilities`]: caps } });
	scenario('answers a question in the session that asked it, whatever its capabilities are by then', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const q = await question(br), [first] = srv.sessions.keys();
		assertText(await call(br, 'echo', { text: 'x' }, able({ elicitation: {}, sampling: {} })), 'x');
		assert.equal(srv.sessions.size, 2);
		const second = await call(br, 'ask', { method: 'elicitation/create', params: FORM }, { ...q, ...able({ elicitation: {}, sampling: {} }) });
		assert.deepEqual(JSON.parse(textOf(second)), given.result);
		assert.deepEqual(srv.answers.map((a) => a.exchange.headers['mcp-session-id']), [first]);
		assert.equal(srv.sessions.size, 2);
	});
	scenario('answers a question in a session that is known to be gone elsewhere', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const q = await question(br), [first] = srv.sessions.keys();
		srv.when((ex) => ex.kind === 'tools/call' && ex.headers['mcp-session-id'] === first, (ex) => ex.reply(404), 1); // another machine of the same server
		assertText(await call(br, 'echo', { text: 'x' }), 'x');
		assert.deepEqual(JSON.parse(textOf(await call(br, 'ask', { method: 'elicitation/create', params: FORM }, q))), given.result);
		assert.deepEqual(srv.answers.map((a) => a.exchange.headers['mcp-session-id']), [first]);
	});
	scenario('is not left waiting by a session that is gone everywhere', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const q = await question(br);
		srv.forget(); // but the stream of the call stays
		assertText(await call(br, 'echo', { text: 'x' }), 'x');
		assert.match((await call(br, 'ask', { method: 'elicitation/create', params: FORM }, q)).raw, /outcome_unknown/);
		assertText(await call(br, 'echo', { text: 'y' }), 'y');
	});
	scenario('may have got other capabilities with the retry', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const q = await question(br);
		const second = await call(br, 'ask', { method: 'elicitation/create', params: FORM }, { ...q, ...able({ elicitation: {}, sampling: {} }) });
		assert.deepEqual(JSON.parse(textOf(second)), given.result);
	});
	scenario('whose capabilities change while a session is being made is known by the new ones', LEGACY, async ({ srv, br }) => {
		srv.first('initialize', (ex) => { setTimeout(() => srv.serve(ex), 200); });
		const d = ask(br, 'server/discover', able({}));
		await srv.sees('initialize');
		assertText(await call(br, 'echo', { text: 'x' }), 'x');
		await d;
		assert.deepEqual(srv.seen('initialize').map((e) => Object.keys(e.message.params.capabilities)), [[], ['elicitation', 'sampling', 'roots']]);
		assert.deepEqual([...srv.sessions.keys()], [srv.seen('tools/call')[0].headers['mcp-session-id']]);
	});
	scenario('whose capabilities change leaves no session behind, but where a call runs', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover', able({}));
		for (const caps of [{ roots: {} }, {}, { sampling: {} }]) assertText(await call(br, 'echo', { text: 'x' }, able(caps)), 'x');
		await until(() => srv.seen('DELETE').length === 3);
		assert.equal(srv.sessions.size, 1);
		const c = call(br, 'slow', { ms: 200 }, able({ sampling: {} }));
		await srv.sees('tools/call:slow');
		assertText(await call(br, 'echo', { text: 'y' }, able({ roots: {} })), 'y');
		assertText(await c, 'at last');
		assert.equal(srv.seen('DELETE').length, 3);
	});
	scenario('whose requests come at once with different capabilities has each of them sent in a session', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const frame = (id, caps) => JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'echo', arguments: { text: id }, _meta: { ...META, ...able(caps)._meta } } });
		const calls = [['a', {}], ['b', { roots: {} }], ['c', {}], ['d', {}]], answers = calls.map(([id]) => br.expect(id));
		br.raw(calls.map(([id, caps]) => frame(id, caps)).join('\n'));
		for (const [i, a] of answers.entries()) assertText(await a, calls[i][0]);
		assert.equal(srv.seen('tools/call').length, 4);
		assert.ok(srv.seen('tools/call').every((e) => e.headers['mcp-session-id']));
	});
	scenario('loses no call on 2024-11-05 because the next one comes with other capabilities', { connect: false, server: { mode: 'sse' } }, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const c = call(br, 'slow', { ms: 300 });
		await srv.sees('tools/call:slow');
		assertText(await call(br, 'echo', { text: 'x' }, able({ elicitation: {} })), 'x');
		assertText(await c, 'at last');
		const made = () => srv.seen('initialize').filter((e) => e.path === '/message').length;
		assert.equal(made(), 1);
		assertText(await call(br, 'echo', { text: 'y' }, able({ elicitation: {} })), 'y');
		assert.equal(made(), 2);
	});
	scenario('takes no state of another process', LEGACY, async ({ srv, br, bridge }) => {
		await ask(br, 'server/discover');
		const q = await question(br), other = bridge([srv.url, '--log-level', 'debug']);
		await ask(other, 'server/discover');
		assert.equal((await call(other, 'ask', { method: 'elicitation/create', params: FORM }, q)).error?.code, -32602);
		assert.equal(srv.answers.length, 0);
		await call(br, 'ask', { method: 'elicitation/create', params: FORM }, q);
	});
	scenario('can stop a call that goes on under the id of a retry', LEGACY, async ({ srv, br }) => {
		srv.onRequest = async (m, session, channel) => {
			if (m.params?.name !== 'ask') return undefined;
			await srv.ask('elicitation/create', FORM, (x) => channel.send(x));
			return new Promise(() => {});
		};
		await ask(br, 'server/discover');
		const q = await question(br), retry = call(br, 'ask', { method: 'elicitation/create', params: FORM }, q);
		await until(() => srv.answers.length === 1);
		br.cancel(retry);
		const [stop] = await srv.sees('notifications/cancelled');
		assert.equal(JSON.stringify(stop.message.params.requestId), srv.seen('tools/call:ask')[0].id);
	});
	scenario('that cancels a call it was asked about, and comes back all the same, is told that it has ended', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		const q = await question(br);
		br.notify('notifications/cancelled', { requestId: br.sent });
		await srv.sees('notifications/cancelled');
		assert.match((await call(br, 'ask', { method: 'elicitation/create', params: FORM }, q)).raw, /outcome_unknown/);
		assert.equal(srv.ran('ask'), 1);
	});
	scenario('hears of progress under the token of the retry', LEGACY, async ({ srv, br }) => {
		srv.onRequest = async (m, session, channel) => {
			if (m.params?.name !== 'ask') return undefined;
			await srv.ask('elicitation/create', FORM, (x) => channel.send(x));
			channel.send({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: m.params._meta.progressToken, progress: 1 } });
			return { result: { content: [] } };
		};
		await ask(br, 'server/discover');
		const first = await call(br, 'ask', {}, { _meta: { progressToken: 'first' } }), [key] = Object.keys(first.result.inputRequests);
		await call(br, 'ask', {}, { inputResponses: { [key]: given.result }, requestState: first.result.requestState, _meta: { progressToken: 2 } });
		assert.deepEqual(br.notifications.filter((n) => /progress/.test(n.method)).map((n) => n.params.progressToken), [2]);
	});
	scenario('whose call was lost while it was answering learns that, and is asked anew where that is harmless', { connect: false, server: { respond: 'sse' } }, async ({ srv, br }) => {
		srv.tools.find((t) => t.name === 'ask').annotations = { readOnlyHint: true };
		await ask(br, 'server/discover');
		await ask(br, 'tools/list');
		let q = await question(br);
		srv.forget();
		srv.cut('reset');
		await until(() => srv.ran('ask') === 2, 8000, 'the call again');
		const again = await call(br, 'ask', { method: 'elicitation/create', params: FORM }, q);
		assert.equal(again.result?.resultType, 'input_required', again.raw);
		q = { inputResponses: { [Object.keys(again.result.inputRequests)[0]]: given.result }, requestState: again.result.requestState };
		assert.deepEqual(JSON.parse(textOf(await call(br, 'ask', { method: 'elicitation/create', params: FORM }, q))), given.result);
		assert.equal(srv.answers.length, 1);
	});
	scenario('that answers a question nobody asked changes nothing', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		br.raw(JSON.stringify({ jsonrpc: '2.0', id: 0, ...given }));
		br.raw(JSON.stringify({ jsonrpc: '2.0', id: 'ask-1', ...given }));
		assertText(await call(br, 'echo', { text: 'x' }), 'x');
		assert.equal(srv.seen('answer').length, 0);
	});
	scenario('is told only of what it asked for and the server can tell, however the address is spelled', LEGACY, async ({ srv, br }) => {
		srv.capabilities = { tools: { listChanged: true }, resources: { subscribe: true }, prompts: {} };
		await ask(br, 'server/discover');
		const l = ask(br, 'subscriptions/listen', { notifications: { toolsListChanged: false, promptsListChanged: true, resourcesListChanged: true, resourceSubscriptions: ['mem://one'], another: 1 } }, { id: 'sub' });
		br.cancelled.add('"sub"');
		const [ack] = await br.notified('notifications/subscriptions/acknowledged');
		assert.deepEqual(ack.params, { notifications: { resourceSubscriptions: ['mem://one'] }, _meta: { [`${NS}subscriptionId`]: 'sub' } });
		await srv.sees('resources/subscribe');
		const out = await srv.standing();
		for (const uri of ['mem:\\/\\/two', 'mem:\\/\\/one']) out.event({ data: `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"${uri}"}}` });
		out.event({ data: '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}' });
		out.event({ data: '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"sub"}}' });
		await br.notified('notifications/resources/updated');
		assertText(await call(br, 'echo', { text: 'x' }), 'x');
		assert.deepEqual(br.notifications.slice(1).map((n) => [n.method, n.params.uri, n.params._meta[`${NS}subscriptionId`]]), [['notifications/resources/updated', 'mem://one', 'sub']]);
		void l;
	});
	for (const result of ['null', '[1,2]', '"text"', '{}'])
		scenario(`gets one line of JSON for a result that is ${result}`, LEGACY, async ({ srv, br }) => {
			await ask(br, 'server/discover');
			srv.when('tools/call:echo', (ex) => ex.json(`{"jsonrpc":"2.0","id":${ex.id},"result":${result}}`));
			const answer = await call(br, 'echo');
			assert.deepEqual(answer.result, result === '{}' ? { resultType: 'complete' } : JSON.parse(result));
		});
	const mems = (n) => Array.from({ length: n }, (_, i) => `mem://resource/${i}`);
	scenario('with a thousand resources in one subscription overwhelms nobody, and gets them all', LEGACY, async ({ srv, br }) => {
		let most = 0, now = 0, first = true;
		srv.when((e) => /^resources\/(un)?subscribe$/.test(e.kind), (e) => {
			if (first) { first = false; e.reply(503); return; }
			most = Math.max(most, ++now);
			setTimeout(() => { now--; srv.serve(e); }, 1);
		});
		await ask(br, 'server/discover');
		const l = ask(br, 'subscriptions/listen', { notifications: { resourceSubscriptions: mems(1000) } });
		await until(() => srv.session.subscriptions.size === 1000);
		br.cancel(l);
		await until(() => srv.session.subscriptions.size === 0);
		assert.ok(most <= 16, `${most} at once`);
		const m = ask(br, 'subscriptions/listen', { notifications: { resourceSubscriptions: mems(300) } });
		await until(() => srv.session.subscriptions.size >= 20);
		br.signal('SIGUSR2'); // in the middle of it, and the session goes on
		await until(() => srv.session.subscriptions.size === 300);
		br.cancel(m);
		assert.equal(srv.sessions.size, 1);
	});
	scenario('with more resources than are kept is told so', LEGACY, async ({ br }) => {
		await ask(br, 'server/discover');
		assert.match((await ask(br, 'subscriptions/listen', { notifications: { resourceSubscriptions: mems(10001) } })).raw, /10,000 subscriptions/);
	});
	scenario('may end a subscription while it is said again to a new session', LEGACY, async ({ srv, br }) => {
		await ask(br, 'server/discover');
		for (const [id, resources] of [['a', ['mem://0']], ['b', ['mem://1', 'mem://2']], ['c', ['mem://3']]]) { ask(br, 'subscriptions/listen', { notifications: { resourceSubscriptions: resources } }, { id }); br.cancelled.add(JSON.stringify(id)); }
		await srv.sees('resources/subscribe', 4);
		let held;
		srv.when((ex) => ex.kind === 'resources/subscribe' && ex.message.params.uri === 'mem://1', (ex) => { held = ex; }, 1);
		srv.forget();
		assertText(await Promise.race([call(br, 'echo', { text: 'x' }), until(() => held).then(() => { br.notify('notifications/cancelled', { requestId: 'b' }); setTimeout(() => srv.serve(held), 50); return new Promise(() => {}); })]), 'x');
		assert.deepEqual([...srv.session.subscriptions].filter((u) => u !== 'mem://1'), ['mem://0', 'mem://3']);
		await srv.standing();
		srv.notify('notifications/resources/updated', { uri: 'mem://3' });
		await until(() => tagged(br, 'notifications/resources/updated', 'c').length >= 2);
	});
	for (const status of [200, 400]) {
		scenario(`gets a server that takes no newer version than it knows (${status})`, LEGACY, async ({ srv, br }) => {
			srv.when('initialize', (ex) => { if (ex.message.params.protocolVersion <= '2025-03-26') return false; ex.json(ex.envelope({ error: { code: -32602, message: 'Unsupported protocol version', data: { supported: ['2024-11-05', '2025-03-26'] } } }), { status }); });
			assert.ok((await ask(br, 'server/discover')).result);
			assertText(await call(br, 'echo', { text: 'x' }), 'x');
			assert.deepEqual(srv.seen('initialize').map((e) => e.message.params.protocolVersion), ['2025-11-25', '2025-03-26']);
		});
		scenario(`is told at once why its server refuses the handshake, and the next request tries again (${status})`, LEGACY, async ({ srv, br }) => {
			srv.first('initialize', (ex) => { ex.json(ex.envelope({ error: { code: -32000, message: 'no such tenant' } }), { status }); });
			const answer = await ask(br, 'server/discover');
			assert.match(assertOwnError(answer, 'bad_upstream').message, /no such tenant/);
			assertText(await call(br, 'echo', { text: 'x' }), 'x');
		});
	}
	scenario('gets what its own revision says of a version nobody speaks', LEGACY, async ({ br }) => {
		await ask(br, 'server/discover');
		const { error } = await ask(br, 'tools/list', { _meta: { [`${NS}protocolVersion`]: '2031-01-01' } });
		assert.equal(error.code, -32022);
		assert.deepEqual(error.data, { supported: [VERSION], requested: '2031-01-01' });
	});
});

describe('writers that escape each slash', () => {
	const escaped = (v) => (typeof v === 'string' ? v : JSON.stringify(v)).replaceAll('/', '\\/');
	const escape = ({ srv, br }) => {
		const say = br.raw.bind(br), accept = srv.accept.bind(srv);
		br.raw = (line) => say(escaped(line));
		srv.accept = (ex) => {
			const json = ex.json.bind(ex), stream = ex.stream.bind(ex);
			ex.json = (v, o) => json(escaped(v), o);
			ex.stream = (o) => {
				const out = stream(o), event = out.event.bind(out);
				out.event = (e) => event(e.data === undefined ? e : { ...e, data: escaped(e.data) });
				return out;
			};
			accept(ex);
		};
	};
	for (const client of ['2025-11-25', VERSION]) for (const server of ['2025-11-25', VERSION])
		scenario(`are understood: a client of ${client} on a server of ${server}`, { connect: false, server: { respond: 'sse' } }, async ({ srv, br }) => {
			escape({ srv, br });
			if (server === VERSION) modern(srv, { 'tools/call:ask': (ex) => ex.message.params.inputResponses ? text('done') : NEEDS('s'), 'tools/call:slow': (ex) => { ex.slow = ex.stream(); } });
			const old = client !== VERSION, request = (method, params) => old ? br.request(method, params) : ask(br, method, params);
			br.handlers['elicitation/create'] = () => given;
			if (old) await br.connect({ version: client }); else await ask(br, 'server/discover');
			assert.ok((await request('tools/list', {})).result.tools.length > 3);
			if (old) await request('resources/subscribe', { uri: 'mem://one' });
			else { br.cancelled.add('"sub"'); ask(br, 'subscriptions/listen', { notifications: { resourceSubscriptions: ['mem://one'] } }, { id: 'sub' }); await br.notified('notifications/subscriptions/acknowledged'); }
			if (server === VERSION) (await until(() => srv.seen('subscriptions/listen').find((e) => e.listening?.open && e.message.params.notifications.resourceSubscriptions), 8000, 'a subscription')).listening.tell('notifications/resources/updated', { uri: 'mem://one' });
			else { await srv.standing(); await srv.sees('resources/subscribe'); srv.notify('notifications/resources/updated', { uri: 'mem://one' }); }
			assert.equal((await br.notified('notifications/resources/updated'))[0].params.uri, 'mem://one');
			const first = await request('tools/call', { name: 'ask', arguments: { method: 'elicitation/create', params: FORM } });
			if (old) assertText(first);
			else assert.deepEqual(Object.values(first.result.inputRequests), [{ method: 'elicitation/create', params: FORM }]);
			const slow = request('tools/call', { name: 'slow', arguments: { ms: 9000 } });
			await srv.sees('tools/call:slow');
			br.cancel(slow);
			await until(() => server === VERSION ? srv.seen('tools/call:slow').every((e) => !e.slow.open) : srv.seen('notifications/cancelled').length, 5000, 'the cancellation');
			if (server === VERSION) assert.deepEqual(srv.wrong.filter((w) => !/initialize/.test(w)), []);
		});
});

describe('two eras in one conversation', () => {
	for (const [name, prepare] of [['a legacy server', () => {}], ['a modern server', modern]]) {
		scenario(`initialize in the middle of a modern one is refused and not sent (${name})`, { connect: false }, async ({ srv, br }) => {
			prepare(srv);
			await ask(br, 'server/discover');
			await ask(br, 'tools/list');
			const before = srv.seen('initialize').length;
			assert.equal((await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'x', version: '1' } })).error?.code, -32600);
			assert.ok((await ask(br, 'initialize', { protocolVersion: '2025-06-18', capabilities: {} })).error);
			assert.equal(srv.seen('initialize').length, before);
			assertText(await call(br, 'echo', { text: 'x' }), 'x');
		});
		scenario(`initialize after nothing but server/discover is a fallback (${name})`, { connect: false }, async ({ srv, br }) => {
			prepare(srv);
			await ask(br, 'server/discover');
			await br.connect();
			assertText(await br.call('echo', { text: 'x' }), 'x');
			await until(() => srv.sessions.size === (name === 'a legacy server' ? 1 : 0), 8000, 'the session that was made for it is given back');
		});
		scenario(`a request that does not say its version, in the middle of a modern one, is refused and not sent (${name})`, { connect: false }, async ({ srv, br }) => {
			prepare(srv);
			await ask(br, 'server/discover');
			assert.equal((await br.request('tools/call', { name: 'echo', arguments: {} })).error?.code, -32602);
			assert.equal((await br.request('tools/list')).error?.code, -32602);
			assert.equal(srv.seen('tools/call').length + srv.seen('tools/list').length, 0);
			assertText(await call(br, 'echo', { text: 'x' }), 'x');
		});
		scenario(`server/discover and subscriptions/listen in the middle of a legacy one get one answer (${name})`, { connect: false }, async ({ srv, br }) => {
			prepare(srv);
			await br.connect();
			const before = srv.exchanges.length;
			assert.ok((await ask(br, 'server/discover')).error);
			assert.ok((await ask(br, 'subscriptions/listen', { notifications: { toolsListChanged: true } })).error);
			assert.ok(srv.exchanges.slice(before).every((e) => !['server/discover', 'subscriptions/listen'].includes(e.kind) || e.message.params._meta[`${NS}clientInfo`].name !== 'intruder'));
			assertText(await br.call('echo', { text: 'x' }), 'x');
		});
	}
	const nobody = (srv) => srv.when(() => true, (ex) => ex.reply(404, { 'Content-Type': 'text/html' }, '<html>no such app</html>'));
	scenario('a probe that met a stranger does not bind the client either', { connect: false, args: ['--hold-time', '500'] }, async ({ srv, br }) => {
		nobody(srv);
		assert.match((await ask(br, 'server/discover')).raw, /upstream_unavailable/);
		srv.clear();
		await br.connect();
		assertText(await br.call('echo', { text: 'x' }), 'x');
	});
	scenario('a modern server is found when it comes up behind a gateway that answered in its place', { connect: false }, async ({ srv, br }) => {
		nobody(srv);
		const d = ask(br, 'server/discover');
		await br.logged(/> wait/);
		srv.clear();
		modern(srv);
		assert.equal((await d).result.instructions, 'be kind');
		assertText(await call(br, 'echo', { text: 'x' }), 'x');
	});
	for (const [how, breakIt] of [['is reset', (ex) => { ex.reset(); }], ['is answered with 503', (ex) => { ex.reply(503); }], ['is answered with 429', (ex) => { ex.reply(429, { 'Retry-After': '1' }); }]])
		scenario(`a probe that ${how} says nothing of the era: a legacy client gets its server`, { connect: false }, async ({ srv, br }) => {
			modern(srv);
			srv.first('server/discover', breakIt);
			await br.connect();
			assertText(await br.call('echo', { text: 'x' }), 'x');
		});
	for (const args of [['--hold-time', '800'], ['--max-retries', '0']])
		scenario(`a server that refuses initialize and has no answer to the probe: its refusal is what the client is told (${args[0]})`, { connect: false, args }, async ({ srv, br }) => {
			srv.when('initialize', (ex) => ex.json(ex.envelope({ error: { code: -32602, message: 'no such tenant' } }), { status: 400 }));
			srv.when('server/discover', (ex) => ex.reply(502));
			const answer = await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'driver', version: '1' } });
			assert.equal(answer.error?.message, 'no such tenant');
		});
	scenario('a probe that could not be answered does not bind the client: initialize begins a legacy one', { connect: false, args: ['--max-retries', '1', '--max-retry-delay', '100'] }, async ({ srv, br }) => {
		await srv.stop();
		assertOwnError(await ask(br, 'server/discover'), 'upstream_unavailable');
		await srv.listen(srv.port);
		await pause(200);
		await br.connect();
		assertText(await br.call('echo', { text: 'x' }), 'x');
	});
});

describe('a server that changes its era', () => {
	const connect = { legacy: (br) => br.connect(), modern: (br) => ask(br, 'server/discover') };
	const echo = { legacy: (br, text) => br.call('echo', { text }), modern: (br, text) => call(br, 'echo', { text }) };
	const subscribe = {
		legacy: (br) => br.request('resources/subscribe', { uri: 'mem://one' }),
		modern: async (br) => { ask(br, 'subscriptions/listen', { notifications: { toolsListChanged: true, resourceSubscriptions: ['mem://one'] } }, { id: 'L' }); br.cancelled.add('"L"'); await br.notified('notifications/subscriptions/acknowledged'); },
	};
	const turn = { modern: (srv) => { srv.forget(); modern(srv); }, legacy: (srv) => srv.clear() };
	for (const who of ['legacy', 'modern'])
		for (const to of ['modern', 'legacy'])
			for (const how of ['in good times', 'while it is away'])
				scenario(`is found again by a ${who} client (${to} from now on, ${how})`, { connect: false }, async ({ srv, br }) => {
					if (to === 'legacy') modern(srv);
					await connect[who](br);
					assertText(await echo[who](br, 'a'), 'a');
					await subscribe[who](br);
					if (how === 'while it is away') {
						await srv.stop();
						turn[to](srv);
						await br.logged(/ready > wait/);
						await srv.listen(srv.port);
					} else {
						turn[to](srv);
						srv.cut();
						assertText(await echo[who](br, 'b'), 'b');
					}
					assertText(await echo[who](br, 'c'), 'c');
					const before = br.notifications.length;
					if (to === 'modern') {
						const stream = await until(() => srv.seen('subscriptions/listen').filter((e) => e.listening?.open && e.message.params.notifications.resourceSubscriptions).at(-1)?.listening);
						stream.tell('notifications/resources/updated', { uri: 'mem://one' });
					} else {
						await until(() => srv.session.subscriptions.size === 1);
						await srv.standing();
						srv.notify('notifications/resources/updated', { uri: 'mem://one' });
					}
					await until(() => br.notifications.length > before);
					assert.equal(br.notifications.filter((n) => /acknowledged/.test(n.method)).length, who === 'modern' ? 1 : 0);
				});
	for (const who of ['legacy', 'modern'])
		for (const refusal of ['with an error', 'without a word'])
			scenario(`is found out by the subscription of a ${who} client, refused ${refusal}`, { connect: false }, async ({ srv, br }) => {
				modern(srv);
				await connect[who](br);
				await subscribe[who](br);
				await until(() => srv.seen('subscriptions/listen').some((e) => e.listening?.open));
				srv.clear();
				if (refusal === 'without a word') srv.when('subscriptions/listen', (ex) => ex.reply(400));
				srv.cut();
				await until(() => srv.session?.subscriptions.size === 1);
				await srv.standing();
				const before = br.notifications.length;
				srv.notify('notifications/resources/updated', { uri: 'mem://one' });
				await until(() => br.notifications.length > before);
				assert.equal(br.notifications.filter((n) => /acknowledged/.test(n.method)).length, who === 'modern' ? 1 : 0);
			});
	for (const [what, body] of [
		['a session id', { code: -32000, message: 'Bad Request: Mcp-Session-Id header is required' }],
		['a session id, as if the request were no good', { code: -32600, message: 'Bad Request: Missing session ID' }],
		['another version', { code: -32000, message: 'Bad Request: Unsupported protocol version (supported versions: 2025-11-25)' }],
		['something, without a word', undefined],
	])
		scenario(`is found out by a call that lacks ${what}, which goes again to what is found`, { connect: false }, async ({ srv, br }) => {
			modern(srv);
			await connect.modern(br);
			assertText(await echo.modern(br, 'a'), 'a');
			srv.clear();
			srv.when((ex) => ex.method === 'POST' && !ex.headers['mcp-session-id'] && ex.message.method !== 'initialize', (ex) => {
				if (body) ex.json({ jsonrpc: '2.0', id: 'server-error', error: body }, { status: 400 });
				else ex.reply(404);
			});
			const calls = ['b', 'c', 'd'].map((x) => echo.modern(br, x));
			for (const [i, answer] of (await Promise.all(calls)).entries()) assertText(answer, 'bcd'[i]);
		});
	for (const [what, body] of [['with an error', { code: -32000, message: 'no such session of yours' }], ['without a word', undefined]])
		scenario(`is what it was, and refuses a call ${what}: that is not sent again, and its client told`, { connect: false }, async ({ srv, br }) => {
			modern(srv);
			await connect.modern(br);
			srv.when('tools/call', (ex) => { if (body) ex.json(ex.envelope({ error: body }), { status: 400 }); else ex.reply(404); });
			const answer = await echo.modern(br, 'a');
			assert.match(answer.error?.message ?? textOf(answer), body ? /no such session of yours/ : /HTTP 404/);
			assert.equal(srv.seen('tools/call').length, 1);
			assert.equal(srv.seen('server/discover').length, 3);
		});
	scenario('takes the subscription of a modern client over from one that goes on beside it', { connect: false }, async ({ srv, br }) => {
		modern(srv);
		await connect.modern(br);
		await subscribe.modern(br);
		srv.clear();
		assertText(await echo.modern(br, 'a'), 'a');
		await until(() => srv.session?.subscriptions.size === 1);
		await until(() => srv.seen('subscriptions/listen').every((e) => !e.listening.open));
	});
	scenario('refuses what may be sent twice: it goes again to what is found', { connect: false }, async ({ srv, br }) => {
		modern(srv);
		await connect.modern(br);
		assert.equal((await ask(br, 'tools/list')).error, undefined);
		srv.clear();
		assert.equal((await ask(br, 'tools/list')).error, undefined);
	});
	scenario('is what it was, and refuses one request only: its client is told, after a second attempt', { connect: false }, async ({ srv, br }) => {
		modern(srv);
		await connect.modern(br);
		srv.when('resources/list', (ex) => ex.reply(400));
		const answer = await ask(br, 'resources/list');
		assert.match(answer.error.message, /HTTP 400/);
		assert.equal(srv.seen('resources/list').length, 2);
	});
});
