// Streamable HTTP: what each version puts on the wire, and how it ends.
import zlib from 'node:zlib';
import { assert, assertFailure, assertResult, assertText, describe, never, pause, scenario, SLOW, textOf, until } from '../lib/scenario.mjs';

const POSTS = (srv) => srv.exchanges.filter((e) => e.method === 'POST');

describe('Streamable HTTP', { concurrency: 4 }, () => {
	for (const version of ['2025-03-26', '2025-06-18', '2025-11-25'])
		for (const respond of ['json', 'sse'])
			scenario(`speaks ${version} with ${respond} responses`, { version, server: { respond } }, async ({ srv, br }) => {
				await srv.standing();
				assertText(await br.call('echo', { text: 'one' }), 'one');
				assert.ok(assertResult(await br.request('tools/list')).tools.length > 0);
				for (const e of POSTS(srv)) {
					assert.match(e.headers.accept, /application\/json/, 'Accept of a POST');
					assert.match(e.headers.accept, /text\/event-stream/, 'Accept of a POST');
					assert.match(e.headers['content-type'], /^application\/json/);
					assert.equal(e.protocol, 'HTTP/1.1');
					assert.equal(e.headers.expect, undefined);
					assert.equal(e.headers.upgrade, undefined);
				}
				assert.match(srv.seen('GET')[0].headers.accept, /text\/event-stream/);
				const [first, ...later] = srv.exchanges;
				assert.equal(first.kind, 'initialize');
				assert.equal(first.headers['mcp-session-id'], undefined);
				assert.equal(first.headers['mcp-protocol-version'], undefined);
				for (const e of later) {
					assert.equal(e.headers['mcp-session-id'], srv.session.id);
					assert.equal(e.headers['mcp-protocol-version'], version === '2025-03-26' ? e.headers['mcp-protocol-version'] : version);
				}
				assert.equal(srv.seen('notifications/initialized').length, 1);
			});

	scenario('the version header is the negotiated version, not the one asked for', { version: '2025-11-25', server: { version: '2025-06-18' } }, async ({ srv, br }) => {
		await br.call('echo');
		assert.equal(srv.seen('tools/call')[0].headers['mcp-protocol-version'], '2025-06-18');
	});

	scenario('202 to notifications and answers says nothing to the client', {}, async ({ srv, br }) => {
		await srv.standing();
		br.notify('notifications/roots/list_changed');
		await srv.ask('roots/list');
		await srv.sees('notifications/roots/list_changed');
		const before = br.lines.length;
		await br.request('ping');
		assert.equal(br.lines.length, before + 1);
	});

	for (const [what, answer] of Object.entries({
		'200 and a stream that stays open': (e) => { e.stream().event({ data: { jsonrpc: '2.0', method: 'notifications/x' } }); },
		'200 and a body that never ends': (e) => { e.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok'); },
		'202 and a body that never ends': (e) => { e.write('HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n'); },
	})) {
		scenario(`a notification that is answered with ${what} is taken, and holds nothing up`, { connect: false }, async ({ srv, br }) => {
			srv.when((e) => e.message?.method?.startsWith('notifications/'), answer);
			await br.connect();
			const from = performance.now();
			assertText(await br.call('echo'));
			br.notify('notifications/roots/list_changed');
			assertText(await br.call('echo'));
			assert.ok(performance.now() - from < 4000 * SLOW, 'held up');
			if (/stream/.test(what)) await br.notified('notifications/x');
		});
	}

	scenario('nothing but initialize is sent before the client says initialized', { connect: false }, async ({ srv, br }) => {
		await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } });
		await never(() => srv.exchanges.length > 1, 250, 'a request before notifications/initialized');
		br.notify('notifications/initialized');
		await srv.sees('notifications/initialized');
	});

	scenario('the standing stream brings notifications and requests of the server', {}, async ({ srv, br }) => {
		await srv.standing();
		srv.notify('notifications/tools/list_changed');
		await br.notified('notifications/tools/list_changed');
		const answer = await srv.ask('sampling/createMessage', { messages: [], maxTokens: 3 });
		assert.equal(answer.result.content.text, 'said');
	});

	for (const [size, used] of [[8000, true], [9000, false]])
		scenario(`a session id of ${size} bytes is ${used ? 'given back' : 'not used, with a warning'}`, { connect: false }, async ({ srv, br }) => {
			const id = 'x'.repeat(size);
			let sent;
			srv.when((e) => e.kind !== 'initialize', (e) => { if (e.message?.id === undefined) e.reply(e.method === 'POST' ? 202 : 405); else { sent = e.headers['mcp-session-id']; e.result({}); } });
			srv.when('initialize', (e) => e.result({ protocolVersion: '2025-06-18', capabilities: {}, serverInfo: { name: 's', version: '1' } }, { headers: { 'Mcp-Session-Id': id } }));
			await br.connect();
			await br.request('ping');
			assert.equal(sent, used ? id : undefined);
			if (!used) await br.logged(/session id of 9000 bytes/);
		});

	scenario('a server without session ids is served without them', { server: { sessions: false } }, async ({ srv, br }) => {
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.ok(srv.exchanges.every((e) => e.headers['mcp-session-id'] === undefined));
	});

	scenario('DELETE ends the session after EOF', {}, async ({ srv, br }) => {
		await br.call('echo');
		const id = srv.session.id;
		br.eof();
		assert.equal((await br.exited()).code, 0);
		assert.deepEqual(srv.seen('DELETE').map((e) => e.headers['mcp-session-id']), [id]);
		assert.equal(srv.seen('DELETE')[0].headers['mcp-protocol-version'], '2025-06-18');
	});

	scenario('a DELETE that is never answered holds the end up for 1 s at most', {}, async ({ srv, br }) => {
		await br.call('echo');
		srv.when('DELETE', (e) => e.silence());
		br.eof();
		const end = await br.exited();
		assert.equal(end.code, 0);
		assert.equal(srv.seen('DELETE').length, 1);
		assert.ok(end.ms >= 600 && end.ms < 1800, `ended after ${end.ms} ms`);
	});

	scenario('a DELETE that is never answered holds the end up for 300 ms after a signal', {}, async ({ srv, br }) => {
		await br.call('echo');
		srv.when('DELETE', (e) => e.silence());
		br.signal('SIGTERM');
		const end = await br.exited();
		assert.equal(end.code, 143);
		assert.equal(srv.seen('DELETE').length, 1);
		assert.ok(end.ms < 900, `ended after ${end.ms} ms`);
	});

	scenario('a batch of a 2025-03-26 client is answered member by member', { version: '2025-03-26' }, async ({ srv, br }) => {
		const asked = ['a', 'b', 'c'].map((id) => br.expect(id));
		br.raw(JSON.stringify([...asked.map(({ id }) => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'echo', arguments: { text: `text ${id}` } } })), { jsonrpc: '2.0', method: 'notifications/roots/list_changed' }]));
		for (const p of asked) assertText(await p, `text ${p.id}`);
		await until(() => srv.exchanges.some((e) => e.text.includes('notifications/roots/list_changed')), 3000, 'the notification of the batch');
	});

	scenario('a batch from a 2025-03-26 server reaches the client whole', { version: '2025-03-26' }, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.json(`[{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"d"}},${e.envelope({ result: { content: [{ type: 'text', text: 'in a batch' }] } })}]`));
		assertText(await br.call('echo'), 'in a batch');
		await br.notified('notifications/message');
	});

	for (const [what, bytes] of Object.entries({ 'a 408': 'HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n', 'the rest of an answer': 'null' }))
		scenario(`an idle connection on which the server says ${what} is not used again`, { server: { standing: false } }, async ({ srv, br }) => {
			assertText(await br.call('append'), '1');
			for (const c of srv.connections) c.socket.write(bytes);
			await until(() => srv.connections.size === 0, 4000, 'the end of the connections');
			assertText(await br.call('append'), '2');
		});

	scenario('calls one after another share connections', { server: { standing: false } }, async ({ srv, br }) => {
		for (let i = 0; i < 30; i++) await br.call('echo');
		assert.ok(srv.accepted <= 4, `${srv.accepted} connections`);
	});

	for (const encoding of ['gzip', 'deflate'])
		for (const shape of ['json', 'sse'])
			scenario(`a ${shape} response in ${encoding} is understood`, {}, async ({ srv, br }) => {
				srv.when('tools/call', (e) => {
					assert.match(e.headers['accept-encoding'] ?? '', new RegExp(encoding));
					const body = e.envelope({ result: { content: [{ type: 'text', text: 'packed'.repeat(2000) }] } });
					const bytes = Buffer.from(shape === 'sse' ? `data: ${body}\n\n` : body);
					e.reply(200, { 'Content-Type': shape === 'sse' ? 'text/event-stream' : 'application/json', 'Content-Encoding': encoding }, encoding === 'gzip' ? zlib.gzipSync(bytes) : zlib.deflateSync(bytes));
				});
				assertText(await br.call('echo'), 'packed'.repeat(2000));
			});

	scenario('what is named as a content coding and is none is read as it is', {}, async ({ srv, br }) => {
		const charset = { headers: { 'Content-Encoding': 'utf-8' } };
		srv.when('tools/list', (e) => e.result({ tools: [] }, charset));
		srv.when('tools/call:append', (e) => { srv.count('append'); e.result({ content: [{ type: 'text', text: 'once' }] }, charset); });
		assertResult(await br.request('tools/list'));
		assertText(await br.call('append'), 'once');
		assert.equal(srv.ran('append'), 1);
	});

	scenario('a gzip stream gives each event as it comes', {}, async ({ srv, br }) => {
		let finish;
		srv.when('tools/call', (e) => {
			const out = e.stream({ headers: { 'Content-Encoding': 'gzip' } }), z = zlib.createGzip({ flush: zlib.constants.Z_SYNC_FLUSH });
			z.on('data', (d) => out.raw(d));
			z.on('end', () => out.end());
			z.write('data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"early"}}\n\n');
			z.flush(zlib.constants.Z_SYNC_FLUSH);
			finish = () => z.end(`data: ${e.envelope({ result: { content: [{ type: 'text', text: 'late' }] } })}\n\n`);
		});
		const call = br.call('echo');
		await br.notified('notifications/message');
		assert.equal(call.answers, 0);
		finish();
		assertText(await call, 'late');
	});

	const FRAMING = {
		'with chunk extensions, leading zeros and a trailer': (e, b) => e.write(Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0005;a=b\r\n'), b.subarray(0, 5), Buffer.from(`\r\n${(b.length - 5).toString(16).toUpperCase()};q="1 2"\r\n`), b.subarray(5), Buffer.from('\r\n0\r\nX-After: 1\r\n\r\n')])).done(),
		'that ends with the connection': (e, b) => e.write('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n').write(b).fin(),
		'of HTTP/1.0': (e, b) => e.write('HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n').write(b).fin(),
		'after 100 and 103': (e, b) => e.write(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${b.length}\r\n\r\n`).write(b).done(),
		'with odd but lawful headers': (e, b) => e.write(`HTTP/1.1 200 \r\ncontent-TYPE:\tApplication/Json ; charset=utf-8\r\nCONTENT-length:${b.length} \r\nX-None:\r\n\r\n`).write(b).done(),
	};
	for (const [what, write] of Object.entries(FRAMING))
		scenario(`a response ${what} is understood`, {}, async ({ srv, br }) => {
			srv.first('tools/call', (e) => write(e, Buffer.from(e.envelope({ result: { content: [{ type: 'text', text: 'framed' }] } }))));
			assertText(await br.call('echo'), 'framed');
			assertText(await br.call('echo', { text: 'next' }), 'next');
		});

	scenario('a response in single bytes is understood', {}, async ({ srv, br }) => {
		srv.first('tools/call', async (e) => {
			const body = e.envelope({ result: { content: [{ type: 'text', text: 'müßig' }] } });
			for (const b of Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)) { e.write(Buffer.from([b])); await new Promise(setImmediate); }
			e.done();
		});
		assertText(await br.call('echo'), 'müßig');
	});

	scenario('cookies come back to the origin that set them', {}, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.result({ content: [] }, { headers: { 'Set-Cookie': ['lb=node-7; Path=/; HttpOnly', 'second=2; Path=/'] } }));
		await br.call('echo');
		await br.call('echo');
		const cookie = srv.seen('tools/call')[1].headers.cookie ?? '';
		assert.match(cookie, /lb=node-7/);
		assert.match(cookie, /second=2/);
	});

	scenario('--disable-cookies sends none back', { args: ['--disable-cookies'] }, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.result({ content: [] }, { headers: { 'Set-Cookie': 'lb=node-7; Path=/' } }));
		await br.call('echo');
		await br.call('echo');
		assert.equal(srv.seen('tools/call')[1].headers.cookie, undefined);
	});

	for (const status of [405, 501, 404])
		scenario(`a GET that answers ${status} while POST works means that there is no standing stream`, {}, async ({ srv, br }) => {
			srv.when('GET', (e) => e.reply(status));
			await srv.sees('GET');
			assertText(await br.call('echo', { text: 'a' }), 'a');
			const n = srv.seen('GET').length;
			await never(() => srv.seen('GET').length > n + 1, 900, 'a GET again and again');
			assertText(await br.call('echo', { text: 'b' }), 'b');
			assert.equal(srv.seen('initialize').length, 1);
		});

	for (const kind of ['end', 'reset', 'fin'])
		scenario(`a standing stream that ends by ${kind} is opened again in the same session`, {}, async ({ srv, br }) => {
			const old = await srv.standing();
			old[kind]();
			await until(() => srv.seen('GET').length > 1, 5000, 'the second GET');
			await srv.standing();
			srv.notify('notifications/resources/list_changed');
			await br.notified('notifications/resources/list_changed');
			assert.equal(srv.seen('initialize').length, 1);
			assert.equal(br.notifications.length, 1);
		});

	for (const [what, refuse] of Object.entries({
		409: (e) => e.reply(409, {}, 'an old stream lingers'),
		502: (e) => e.reply(502, { 'Content-Type': 'text/html' }, '<html>'),
		503: (e) => e.reply(503),
		504: (e) => e.reply(504),
		'captive-portal HTML': (e) => e.reply(200, { 'Content-Type': 'text/html' }, '<html>sign in</html>'),
		'a stream that is closed at once': (e) => e.stream().end(),
	}))
		scenario(`opening the standing stream goes on after ${what}, with a backoff of its own`, {}, async ({ srv, br }) => {
			const old = await srv.standing();
			const rule = srv.first('GET', refuse, 4);
			old.reset();
			await until(() => rule.hits.length === 4, 12000, 'four refusals');
			await srv.standing(12000);
			srv.notify('notifications/prompts/list_changed');
			await br.notified('notifications/prompts/list_changed');
			assert.equal(srv.seen('initialize').length, 1, 'the session stood all the while');
			assertText(await br.call('echo', { text: 'x' }), 'x');
		});

	scenario('a 404 to a later GET is checked by a ping before the session is given up', {}, async ({ srv, br }) => {
		const old = await srv.standing();
		srv.when('GET', (e) => e.reply(404));
		old.reset();
		await srv.sees('ping');
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.equal(srv.seen('initialize').length, 1);
	});

	scenario('a slow first response does not stop the next request', {}, async ({ srv, br }) => {
		const slow = br.call('slow', { ms: 700 });
		await srv.sees('tools/call:slow');
		const quick = await br.call('echo', { text: 'quick' });
		assert.equal(textOf(quick), 'quick');
		assert.equal(slow.answers, 0);
		await slow;
	});

	scenario('a request whose POST is answered 202 and nothing else gets one error', { args: ['--request-timeout', '600ms'] }, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.reply(202));
		assertFailure(await br.call('append'));
		await pause(0);
	});

	scenario('an address that a redirect stands before is used for everything: notifications, answers, streams, the resumption of a call, the end', {
		server: { respond: 'sse', ids: true }, url: (srv) => `${srv.origin}/moved`, connect: false }, async ({ srv, br }) => {
		srv.when((e) => e.path === '/moved', (e) => e.reply(307, { Location: '/mcp' }));
		const arrives = (kind, n = 1) => until(() => srv.seen(kind).filter((e) => e.path === '/mcp').length >= n, 4000, `${n} x ${kind} behind the redirect`);
		await br.connect();
		await arrives('notifications/initialized');
		await srv.standing();
		srv.notify('notifications/prompts/list_changed');
		await br.notified('notifications/prompts/list_changed');
		assert.match((await br.call('ask')).raw, /said/);
		const broken = srv.first((e) => e.path === '/mcp' && e.tool === 'steps', (e) => { srv.serve(e); setTimeout(() => e.reset(), 60); });
		assertText(await br.call('steps', { count: 8 }, { meta: { progressToken: 1 } }), 'all steps');
		assert.equal(broken.hits.length, 1);
		assert.equal(srv.ran('steps'), 1);
		srv.forget();
		assertText(await br.call('echo', { text: 'again' }), 'again');
		await arrives('notifications/initialized', 2);
		br.eof();
		await br.exited();
		await arrives('DELETE');
		assert.equal(srv.sessions.size, 0);
		assert.equal(br.stderr.match(/sends every message on to another address/g).length, 1);
	});

	scenario('a redirect of the standing stream that leads round and round is not followed without end', {}, async ({ srv, br }) => {
		const rule = srv.when('GET', (e) => e.reply(307, { Location: '/mcp' }));
		await until(() => rule.hits.length > 5, 4000, 'the redirects that are followed');
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.ok(rule.hits.length < 40);
	});
});
