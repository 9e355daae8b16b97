// HTTP+SSE of 2024-11-05, and how a transport is chosen.
import { assert, assertFailure, assertResult, assertText, describe, goAway, never, scenario, until } from '../lib/scenario.mjs';

const HELLO = (version = '2025-06-18') => ({ protocolVersion: version, capabilities: {}, clientInfo: { name: 'c', version: '1' } });

describe('HTTP+SSE', { concurrency: 4 }, () => {
	scenario('calls are POSTed to the endpoint and answered on the stream', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		assertText(await br.call('echo', { text: 'hi' }), 'hi');
		assert.equal(srv.seen('GET').length, 1);
		assert.ok(srv.exchanges.filter((e) => e.kind === 'tools/call').every((e) => e.path === '/message' && e.query.get('sessionId') === srv.session.id));
		assert.match(srv.seen('GET')[0].headers.accept, /text\/event-stream/);
	});

	scenario('an answer with the nearest double of a large id is for the request that can be meant', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		srv.when('vendor/ask', (ex) => { ex.reply(202); srv.send({ jsonrpc: '2.0', id: ex.message.id, result: { for: ex.message.params.n } }); });
		for (const id of ['12345678901234567890', '1764000000123456789', '-9007199254740993']) {
			const n = br.lines.length;
			br.raw(`{"jsonrpc":"2.0","id":${id},"method":"vendor/ask","params":{"n":"${id}"}}`);
			await until(() => br.lines.length > n, 8000, `an answer to ${id}`);
			assert.equal(br.lines[n].raw, `{"jsonrpc":"2.0","id":${id},"result":{"for":"${id}"}}`);
		}
		br.stray.length = 0; // its ids are read as JavaScript does
	});

	for (const [what, endpoint] of Object.entries({
		'an absolute URL of the same origin': (s, srv) => `${srv.origin}/message?sessionId=${s.id}`,
		'a path': (s) => `/message?sessionId=${s.id}`,
		'a path relative to the stream': (s) => `message?sessionId=${s.id}`,
		'a path with dots': (s) => `/x/../message?sessionId=${s.id}`,
		'a path with spaces around it': (s) => `\t /message?sessionId=${s.id} `,
	}))
		scenario(`the endpoint may be ${what}`, { server: { mode: 'sse', endpoint } }, async ({ br }) => {
			assertText(await br.call('echo', { text: 'hi' }), 'hi');
		});

	for (const [what, host] of Object.entries({ 'another port': (port) => `http://127.0.0.1:${port}`, 'another host': (port) => `http://localhost:${port}` }))
		scenario(`an endpoint on ${what} is refused and nothing is sent there`, { connect: false, server: { mode: 'sse', endpoint: (s, srv) => `${host(srv.otherPort)}/message?sessionId=${s.id}` }, args: ['--max-retries', '1', '-H', 'Authorization: Bearer endpoint-secret-0123456789'], before: async () => {} }, async ({ srv, br, server }) => {
			const other = await server({ mode: 'sse' });
			srv.otherPort = other.port;
			assertFailure(await br.request('initialize', HELLO('2024-11-05')));
			assert.equal(other.exchanges.length, 0);
			assert.doesNotMatch(br.stderr, /endpoint-secret/);
		});

	scenario('a stream that never gives its endpoint is no handshake: initialize gets its answer all the same', { connect: false, server: { mode: 'sse' }, args: ['--transport', 'sse', '--hold-time', '700ms'] }, async ({ srv, br }) => {
		srv.when('GET', (e) => { e.stream().comment('hello'); });
		const answer = await br.request('initialize', HELLO('2024-11-05'));
		assertFailure(answer);
		assert.ok(answer.ms < 3000, `after ${answer.ms} ms`);
		srv.clear();
		await until(async () => (await br.request('initialize', HELLO('2024-11-05'))).result, 15000, 'initialize answered');
	});

	scenario('a stream that goes silent is given up when a request on it times out: the next attempt comes on a new one', { server: { mode: 'sse', beat: 100 }, args: ['--request-timeout', '700ms'] }, async ({ srv, br }) => {
		await br.request('tools/list');
		srv.session.keep = true;
		const out = await srv.standing();
		out.quiet = true;
		out.event = () => out;
		assertText(await br.call('echo', { text: 'found' }), 'found');
		assert.ok(srv.seen('GET').length >= 2, 'a new stream');
	});

	scenario('a POST answered 200 with a body of its own is taken as accepted', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		srv.when('tools/call', (e) => { e.reply(200, { 'Content-Type': 'text/plain' }, 'ok'); srv.send(e.envelope({ result: { content: [{ type: 'text', text: 'on the stream' }] } })); });
		assertText(await br.call('echo'), 'on the stream');
	});

	for (const [what, take] of Object.entries({
		'200 and nothing more': (e) => e.reply(200),
		'200 and JSON that is no message': (e) => e.json({ status: 'ok' }),
		'200 and a stream without a word': (e) => e.stream().end(),
	}))
		scenario(`every POST answered ${what} is taken as accepted, without a word in the log`, { connect: false, server: { mode: 'sse' } }, async ({ srv, br }) => {
			srv.when((e) => e.path === '/message', (e) => {
				const reply = e.reply;
				e.reply = (status, ...rest) => { e.reply = reply; return status === 202 ? take(e) : e.reply(status, ...rest); };
				srv.serve(e);
			});
			await br.connect({ version: '2024-11-05' });
			assertText(await br.call('append'), '1');
			assertResult(await br.request('tools/list'));
			assert.doesNotMatch(br.stderr, / warn /);
		});

	scenario('an answer on the stream that overtakes the POST response is delivered once', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		srv.when('tools/call', (e) => { srv.send(e.envelope({ result: { content: [{ type: 'text', text: 'early' }] } })); setTimeout(() => e.reply(202), 100); });
		assertText(await br.call('echo'), 'early');
		assertText(await br.call('echo'), 'early');
	});

	for (const how of ['end', 'reset', 'fin'])
		scenario(`a stream that ends by ${how} while idle is made again with the whole handshake, unseen by the client`, { server: { mode: 'sse' } }, async ({ srv, br }) => {
			assertText(await br.call('echo', { text: 'before' }), 'before');
			const lines = br.lines.length;
			(await srv.standing())[how]();
			await until(() => srv.seen('notifications/initialized').length === 2, 6000, 'the second handshake');
			assert.equal(br.lines.length, lines);
			const [first, second] = srv.seen('initialize').map((e) => JSON.stringify(e.message.params));
			assert.equal(second, first);
			assertText(await br.call('echo', { text: 'after' }), 'after');
		});

	scenario('a list whose answer was lost with the stream is asked again', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		srv.first('tools/list', (e) => { e.reply(202); srv.session.channels.get('standing').out.reset(); });
		assert.ok(assertResult(await br.request('tools/list')).tools.length);
		assert.equal(srv.seen('tools/list').length, 2);
	});

	scenario('a call with effects whose answer was lost with the stream is answered by an error and runs once', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		await br.request('tools/list');
		srv.first('tools/call:append', (e) => { srv.count('append'); e.reply(202); srv.session.channels.get('standing').out.reset(); });
		assertFailure(await br.call('append'));
		assertText(await br.call('echo', { text: 'next' }), 'next');
		assert.equal(srv.ran('append'), 1);
	});

	scenario('a POST that is reset while the stream stands is sent again where it may be', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		srv.first('tools/list', (e) => e.reset());
		assertResult(await br.request('tools/list'));
		assert.equal(srv.seen('GET').length, 1, 'the stream stood');
	});

	scenario('a server that restarts without its sessions is found again', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		const { waiting } = await goAway(srv, br, { forget: true });
		await srv.listen(srv.port);
		assertText(await br.call('echo', { text: 'back' }), 'back');
		assertResult(await waiting);
	});

	scenario('a POST that is told that the session is unknown brings a new handshake, and the request is sent again', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		await br.request('tools/list');
		srv.forget();
		assertText(await br.call('append'), '1');
		assert.equal(srv.seen('GET').length, 2);
		assert.equal(srv.ran('append'), 1);
	});

	scenario('a stream on which a ping is not answered for 10 s is dead', { server: { mode: 'sse' }, args: ['--keepalive', '500ms', '--idle-timeout', '0'] }, async ({ srv, br }) => {
		await br.call('echo');
		srv.session.keep = true;
		srv.when((e) => e.kind === 'ping' && e.query.get('sessionId') === srv.exchanges.find((x) => x.kind === 'tools/call').query.get('sessionId'), (e) => e.reply(202));
		await srv.sees('ping');
		const from = performance.now();
		await until(() => srv.seen('GET').length === 2, 14000, 'a new stream');
		assert.ok(performance.now() - from > 8000, 'too early');
		assertText(await br.call('echo', { text: 'new' }), 'new');
	});

	scenario('other event types on the stream are ignored', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		const out = await srv.standing();
		out.event({ event: 'heartbeat', data: { jsonrpc: '2.0', method: 'notifications/shadow' } });
		out.event({ event: 'message', data: { jsonrpc: '2.0', method: 'notifications/real' } });
		await br.notified('notifications/real');
		assert.equal(br.notifications.length, 1);
	});

	scenario('server requests are answered by POST to the endpoint', { server: { mode: 'sse' } }, async ({ srv }) => {
		await srv.standing();
		for (const [method, params] of [['roots/list'], ['ping'], ['sampling/createMessage', { messages: [], maxTokens: 1 }]]) assert.ok((await srv.ask(method, params)).result, method);
		assert.ok(srv.answers.every((a) => a.exchange.path === '/message'));
	});
});

describe('the choice of transport', { concurrency: 4 }, () => {
	for (const status of [400, 404, 405])
		scenario(`auto falls back to SSE when POST answers ${status}`, { server: { mode: 'sse', postStatus: status }, version: '2024-11-05' }, async ({ srv, br }) => {
			assertText(await br.call('echo', { text: 'fell back' }), 'fell back');
			assert.equal(srv.exchanges[0].method, 'POST');
			assert.equal(srv.exchanges[1].method, 'GET');
		});

	for (const [what, answer] of Object.entries({ 500: (e) => e.reply(500), 502: (e) => e.reply(502), 'a bare 503': (e) => e.reply(503), '503 with Retry-After': (e) => e.reply(503, { 'Retry-After': '1' }), 429: (e) => e.reply(429, { 'Retry-After': '1' }), 'a reset': (e) => e.reset() }))
		scenario(`auto tries POST again after ${what} and does not take it for an SSE server`, { connect: false }, async ({ srv, br }) => {
			srv.first('initialize', answer);
			assertResult(await br.request('initialize', HELLO()));
			br.notify('notifications/initialized');
			await srv.standing();
			assert.equal(srv.exchanges.findIndex((e) => e.method === 'GET') > srv.exchanges.findLastIndex((e) => e.kind === 'initialize'), true);
		});

	scenario('a transport is decided only by success: an outage between the tries changes nothing', { connect: false, server: { mode: 'sse' } }, async ({ srv, br }) => {
		srv.first('GET', (e) => e.reply(503), 2);
		assertResult(await br.request('initialize', HELLO('2024-11-05')));
		br.notify('notifications/initialized');
		assertText(await br.call('echo', { text: 'sse' }), 'sse');
	});

	for (const name of ['http', 'http-only'])
		scenario(`--transport ${name} never opens an SSE handshake`, { connect: false, server: { mode: 'sse' }, args: ['--transport', name, '--max-retries', '1'] }, async ({ srv, br }) => {
			assertFailure(await br.request('initialize', HELLO()));
			assert.equal(srv.seen('GET').length, 0);
		});

	for (const name of ['sse', 'sse-only'])
		scenario(`--transport ${name} opens the stream without a POST first`, { server: { mode: 'sse' }, args: ['--transport', name] }, async ({ srv, br }) => {
			assert.equal(srv.exchanges[0].method, 'GET');
			assertText(await br.call('echo', { text: 'x' }), 'x');
		});

	scenario('--transport sse-only never tries a POST to the URL', { connect: false, args: ['--transport', 'sse-only', '--max-retries', '1'] }, async ({ srv, br }) => {
		assertFailure(await br.request('initialize', HELLO('2024-11-05')));
		assert.equal(srv.seen('initialize').length, 0);
	});

	scenario('--transport sse-first begins with the stream and falls back to POST', { version: '2025-06-18', args: ['--transport', 'sse-first'] }, async ({ srv, br }) => {
		assert.equal(srv.exchanges[0].method, 'GET');
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.ok(srv.seen('initialize').length >= 1);
	});

	scenario('--transport http-first is auto by another name', { server: { mode: 'sse' }, args: ['--transport', 'http-first'] }, async ({ srv, br }) => {
		assert.equal(srv.exchanges[0].method, 'POST');
		assertText(await br.call('echo', { text: 'x' }), 'x');
	});

	scenario('a server that offers neither transport leaves a living process that says so', { connect: false, server: { mode: 'sse' }, args: ['--max-retries', '1'] }, async ({ srv, br }) => {
		srv.when(() => true, (e) => e.reply(404, { 'Content-Type': 'text/html' }, '<html>nothing</html>'));
		assertFailure(await br.request('initialize', HELLO()));
		await never(() => !br.alive, 200, 'the process ended');
	});
});

describe('HTTP+SSE behind a redirect', () => {
	scenario('the stream and the POSTs are followed within the origin', { server: { mode: 'sse', endpoint: (x) => `/m?sessionId=${x.id}` }, url: (srv) => `${srv.origin}/events`,
		before: ({ srv }) => {
			srv.when((e) => e.path === '/events', (e) => e.reply(307, { Location: '/sse' }));
			srv.when((e) => e.path === '/m', (e) => e.reply(308, { Location: `/message?${e.query}` }));
		} }, async ({ srv, br }) => {
		assertText(await br.call('echo', { text: 'a' }), 'a');
		await until(() => srv.exchanges.some((e) => e.path === '/message' && e.kind === 'notifications/initialized'), 3000, 'initialized');
	});
});
