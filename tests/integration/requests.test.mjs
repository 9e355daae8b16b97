// Requests both ways: the same bytes, one answer, cancellation, progress.
import { assert, assertFailure, assertOwnError, assertResult, assertText, describe, goAway, never, scenario, SLOW, textOf, until } from '../lib/scenario.mjs';

describe('the same bytes', { concurrency: 4 }, () => {
	const IDS = ['"a"', '""', '"ü\\u00e9\\/\\"x"', '0', '-7', '9007199254740993', '123456789012345678901234567890', '1.50', '1e3'];
	for (const respond of ['json', 'sse'])
		scenario(`ids come back as they were written, ${respond}`, { server: { respond } }, async ({ br }) => {
			for (const id of IDS) {
				const p = br.expect(JSON.parse(id));
				br.raw(`{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"echo","arguments":{"text":"t"}}}`);
				const answer = await p;
				assert.ok(answer.raw.includes(`"id":${id},`), `${id} in ${answer.raw}`);
			}
		});

	scenario('what the client writes reaches the server byte for byte', {}, async ({ srv, br }) => {
		const line = '{ "method":"tools/call" ,"jsonrpc":"2.0","params":{"name":"echo","arguments":{"text":"\\ud83d\\ude00 \\/ \\u00e9","n":[1.0,1e2,-0,12345678901234567890],"z":null,"a":{}},"_meta":{"x.y/z":[[]]}},"id":"raw-1","extra":{"b":1,"a":2} }';
		const p = br.expect('raw-1');
		br.raw(line);
		await p;
		assert.equal(srv.seen('tools/call')[0].text.trim(), line);
	});

	scenario('what the server writes reaches the client byte for byte', {}, async ({ srv, br }) => {
		const member = '"result":{"content":[{"type":"text","text":"\\ud83d\\ude00 \\/ é"}],"n":[1.0,1e2,-0,12345678901234567890],"unknown":{"z":1,"a":2}},"extra":true';
		srv.when('tools/call', (e) => e.json(`{"jsonrpc":"2.0","id":${e.id},${member}}`));
		assert.ok((await br.call('echo')).raw.includes(member));
		await srv.standing();
		const note = '{"params":{"b":1,"a":[2.0]},"method":"notifications/x","jsonrpc":"2.0","more":"\\/"}';
		srv.session.channels.get('standing').send(note);
		await br.notified('notifications/x');
		assert.ok(br.lines.some((l) => l.raw === note));
	});

	scenario('pretty-printed answers become one line', {}, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.json(`${JSON.stringify(JSON.parse(e.envelope({ result: { content: [{ type: 'text', text: 'a\nb' }] } })), null, 2).replaceAll('\n', '\r\n')}\r\n`));
		assertText(await br.call('echo'), 'a\nb');
	});

	scenario('a byte order mark before the first line is no part of it', { connect: false }, async ({ srv, br }) => {
		const p = br.expect('i');
		br.raw(Buffer.from('\ufeff{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}\n'));
		assertResult(await p);
		assert.equal(srv.seen('initialize')[0].body[0], '{'.charCodeAt(0));
	});

	scenario('lines that end in CRLF and blank lines between are understood', {}, async ({ br }) => {
		const p = br.expect('crlf');
		br.raw(Buffer.from('\n\r\n{"jsonrpc":"2.0","id":"crlf","method":"ping"}\r\n\n'));
		assertResult(await p);
	});

	scenario('a line may come in single bytes', {}, async ({ br }) => {
		const p = br.expect('slow');
		for (const b of Buffer.from('{"jsonrpc":"2.0","id":"slow","method":"tools/call","params":{"name":"echo","arguments":{"text":"é"}}}\n')) { br.raw(Buffer.from([b])); await new Promise(setImmediate); }
		assertText(await p, 'é');
	});

	scenario('the same id may be used again once it was answered', {}, async ({ br }) => {
		for (const text of ['a', 'b', 'c']) {
			const p = br.call('echo', { text }, { id: 'same' });
			assertText(await p, text);
			br.pending.delete('"same"');
		}
	});

	for (const respond of ['json', 'sse'])
		scenario(`10 MB come and go unchanged, ${respond}`, { server: { respond } }, async ({ srv, br }) => {
			const unit = 'Zażółć "gęślą" \\ jaźń\n😀', text = unit.repeat(Math.ceil((10 << 20) / Buffer.byteLength(unit)));
			const answer = await br.call('echo', { text }).get(30000);
			assert.ok(textOf(answer) === text, 'the text came back changed');
			assert.equal(srv.seen('tools/call').length, 1);
		});
});

describe('both ways', { concurrency: 4 }, () => {
	for (const mode of ['http', 'sse'])
		scenario(`sampling, elicitation, roots and ping reach the client on the standing stream and are answered once, ${mode}`, { server: { mode } }, async ({ srv, br }) => {
			await srv.standing();
			for (const method of ['sampling/createMessage', 'elicitation/create', 'roots/list', 'ping']) assert.ok((await srv.ask(method, {})).result, method);
			assert.equal(srv.answers.length, 4);
			if (mode === 'http') assert.ok(srv.answers.every((a) => a.exchange.headers['mcp-session-id'] === srv.session.id));
		});

	scenario('a tool asks the client on its own stream', { server: { respond: 'sse' } }, async ({ br }) => {
		assert.match(textOf(await br.call('ask')), /said/);
	});

	scenario('an error of the client is an answer, too', {}, async ({ srv, br }) => {
		await srv.standing();
		br.handlers['sampling/createMessage'] = () => ({ error: { code: -1, message: 'User rejected' } });
		assert.equal((await srv.ask('sampling/createMessage', {})).error.message, 'User rejected');
	});

	scenario('progress comes in order before the answer', { server: { respond: 'sse' } }, async ({ br }) => {
		await br.call('steps', { count: 5, gap: 5 }, { meta: { progressToken: 'p' } });
		assert.deepEqual(br.notifications.map((m) => m.params.progress), [1, 2, 3, 4, 5]);
		assert.ok(br.lines.findLastIndex((l) => l.message.method) < br.lines.length - 1);
	});

	scenario('a cancellation reaches the server with the id it knows', { server: { respond: 'sse' } }, async ({ srv, br }) => {
		const slow = br.call('slow', { ms: 1500 });
		await srv.sees('tools/call:slow');
		br.cancel(slow);
		const [cancel] = await srv.sees('notifications/cancelled');
		assert.equal(JSON.stringify(cancel.message.params.requestId), srv.seen('tools/call:slow')[0].id);
		assert.equal(cancel.message.params.reason, 'no longer needed');
		assertText(await br.call('echo', { text: 'next' }), 'next');
	});

	scenario('a request sent again within the session has an id of ours, its answer and its cancellation mapped', {}, async ({ srv, br }) => {
		await srv.standing();
		const hang = srv.when('tools/list', (e) => e.silence());
		srv.first('tools/list', (e) => e.reset());
		const list = br.request('tools/list', undefined, { id: 'mine' });
		await until(() => hang.hits.length === 1, 5000, 'the second attempt');
		const [first, second] = srv.seen('tools/list');
		assert.equal(first.id, '"mine"');
		assert.notEqual(second.id, '"mine"');
		br.cancel(list);
		const [cancel] = await srv.sees('notifications/cancelled');
		assert.equal(JSON.stringify(cancel.message.params.requestId), second.id);
		srv.clear();
		srv.first('tools/list', (e) => e.reset());
		const again = await br.request('tools/list', undefined, { id: 'also-mine' });
		assert.equal(again.id, 'also-mine');
		assertResult(again);
	});

	scenario('an answer to a server request whose session died is dropped with a log line', {}, async ({ srv, br }) => {
		await srv.standing();
		let release;
		br.handlers['sampling/createMessage'] = () => new Promise((ok) => { release = () => ok({ result: { late: true } }); });
		void srv.ask('sampling/createMessage', {});
		await until(() => release, 3000, 'the question at the client');
		srv.forget();
		await br.call('echo');
		const answers = srv.seen('answer').length;
		release();
		await br.logged(/drop|discard|session/i);
		await br.call('echo');
		assert.equal(srv.seen('answer').slice(answers).filter((e) => e.message.result?.late).length, 0);
	});

	scenario('an answer of the client is sent again on any doubt', {}, async ({ srv, br }) => {
		await srv.standing();
		const rule = srv.when('answer', (e) => (rule.hits.length === 1 ? e.reset() : e.reply(502)), 2);
		assert.ok((await srv.ask('roots/list')).result);
		assert.equal(srv.answers.length, 1);
	});

	scenario('a notification is sent again only when it was not processed', {}, async ({ srv, br }) => {
		await srv.standing();
		srv.first('notifications/roots/list_changed', (e) => e.reply(429, { 'Retry-After': '0' }));
		br.notify('notifications/roots/list_changed');
		await srv.sees('notifications/roots/list_changed', 2);
		srv.first('notifications/roots/list_changed', (e) => e.reset());
		br.notify('notifications/roots/list_changed');
		await srv.sees('notifications/roots/list_changed', 3);
		await br.call('echo');
		await never(() => srv.seen('notifications/roots/list_changed').length > 3, 400, 'a notification sent twice');
	});

	scenario('notifications and answers of the client keep their order', {}, async ({ srv, br }) => {
		await srv.standing();
		srv.first('notifications/roots/list_changed', (e) => e.reply(503, { 'Retry-After': '0' }));
		for (let i = 0; i < 6; i++) br.notify('notifications/roots/list_changed', { n: i });
		await until(() => srv.seen('notifications/roots/list_changed').filter((e) => e.status === 202).length === 6, 6000, 'six notifications');
		const order = srv.seen('notifications/roots/list_changed').filter((e) => e.status === 202).map((e) => e.message.params.n);
		assert.deepEqual(order, [0, 1, 2, 3, 4, 5]);
	});

	scenario('a request the client sends after a notification does not overtake it', {}, async ({ srv, br }) => {
		for (let i = 0; i < 10; i++) { br.notify('notifications/roots/list_changed', { n: i }); void br.call('echo', { text: String(i) }).get().catch(() => {}); }
		await srv.sees('tools/call', 10);
		const order = srv.exchanges.filter((e) => /roots|tools\/call/.test(e.kind)).map((e) => e.message.params.n ?? Number(e.message.params.arguments.text) + 0.5);
		const notes = order.filter(Number.isInteger);
		assert.deepEqual(notes, [...notes].sort((a, b) => a - b));
		for (const [k, x] of order.entries()) if (!Number.isInteger(x)) assert.ok(order.indexOf(x - 0.5) < k, `request ${x - 0.5} overtook its notification`);
	});

	scenario('a ping is answered by the bridge itself while the line is down', {}, async ({ srv, br }) => {
		const { waiting } = await goAway(srv, br);
		const ping = await br.request('ping');
		assert.deepEqual(ping.result, {});
		assert.ok(ping.ms < 100 * SLOW, `after ${ping.ms} ms`);
		assert.equal(waiting.answers, 0);
		await srv.listen(srv.port);
		assertResult(await waiting);
	});

	scenario('a ping that was sent just as the line went down is answered by the bridge itself', {}, async ({ srv, br }) => {
		await srv.standing();
		await srv.stop();
		const waiting = br.request('tools/list'), ping = await br.request('ping');
		assert.deepEqual(ping.result, {});
		assert.ok(ping.ms < 1000 * SLOW, `after ${ping.ms} ms`);
		assert.equal(waiting.answers, 0);
		await srv.listen(srv.port);
		assertResult(await waiting);
	});

	scenario('a ping while the line is up goes to the server', {}, async ({ srv, br }) => {
		assertResult(await br.request('ping'));
		assert.equal(srv.seen('ping').length, 1);
	});

	scenario('--ignore-tool hides tools and refuses their calls', { args: ['--ignore-tool', 'app*', '--ignore-tool', 'st?ps'] }, async ({ srv, br }) => {
		const { tools } = assertResult(await br.request('tools/list'));
		assert.ok(tools.length > 0 && !tools.some((x) => /^app|^steps$/.test(x.name)), tools.map((x) => x.name).join());
		assert.match(assertFailure(await br.call('append')), /turned this tool off/);
		assert.equal(srv.seen('tools/call').length, 0);
		assertText(await br.call('echo'));
	});

	scenario('late and duplicate answers are dropped', {}, async ({ srv, br }) => {
		const out = await srv.standing();
		const answer = await br.call('echo', { text: 'x' }, { id: 'dup' });
		out.event({ data: answer.raw });
		out.event({ data: { jsonrpc: '2.0', id: 'never-asked', result: {} } });
		srv.notify('notifications/end');
		await br.notified('notifications/end');
		assert.equal(br.stray.length, 0);
	});

	scenario('an answer to a foreign id in a response is not passed on', { args: ['--request-timeout', '700ms'] }, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.json({ jsonrpc: '2.0', id: 'someone-else', result: {} }));
		assertFailure(await br.call('append'));
	});

	scenario('5,000 pipelined calls are each answered with their own text', { server: { standing: false } }, async ({ srv, br }) => {
		const calls = Array.from({ length: 5000 }, (_, i) => br.call('echo', { text: `n${i}` }));
		for (const [i, c] of calls.entries()) assert.equal(textOf(await c.get(40000)), `n${i}`);
		assert.equal(srv.ran('echo'), 5000);
	});
});

describe('the errors of our own', { concurrency: 4 }, () => {
	scenario('hold a code outside the reserved range, a kind, a ref that stands in the log, and advice', { args: ['--max-retries', '0'] }, async ({ srv, br }) => {
		await srv.standing();
		await srv.stop();
		const { message, data } = assertOwnError(await br.request('tools/list'), 'upstream_unavailable');
		assert.equal(data.retryable, true);
		assert.equal(typeof data.attempts, 'number');
		await br.logged(new RegExp(data.ref));
		assert.doesNotMatch(message, /127\.0\.0\.1|localhost|\/tmp|\/work|\d+\.\d+\.\d+|pid/);
	});

	scenario('tell of a call with effects that it may have run', {}, async ({ srv, br }) => {
		srv.when('tools/call:append', (e) => e.reset());
		const answer = await br.call('append');
		assert.equal(answer.result?.isError, true, answer.raw);
		const text = assertFailure(answer);
		assert.match(text, /may|unknown|whether/i);
		assert.doesNotMatch(text, /127\.0\.0\.1|\/tmp|\/home/);
	});

	scenario('--tool-errors protocol makes them JSON-RPC errors', { args: ['--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		srv.when('tools/call:append', (e) => e.reset());
		const { data } = assertOwnError(await br.call('append'), 'outcome_unknown');
		assert.equal(data.retryable, false);
	});

	for (const [status, pattern] of [[401, /401|sign|auth/i], [403, /403|forbid|allow|auth/i]])
		scenario(`say ${status} at once, and the request is not tried again`, {}, async ({ srv, br }) => {
			await srv.standing();
			srv.when('tools/call', (e) => e.json({ error: 'no' }, { status }));
			srv.when((e) => /well-known|register/.test(e.path), (e) => e.reply(404));
			const answer = await br.call('append');
			assert.match(assertFailure(answer), pattern);
			assert.ok(answer.ms < 1500 * 3, `after ${answer.ms} ms`);
			assert.equal(srv.seen('tools/call').length, 1);
			assert.ok(br.alive);
		});

	scenario('leave the JSON-RPC errors of the server alone, with any status', {}, async ({ srv, br }) => {
		for (const status of [200, 400, 404, 422]) {
			srv.first('prompts/get', (e) => e.error(-32602, `bad argument ${status}`, { status }));
			const { error } = await br.request('prompts/get', { name: 'x' });
			assert.deepEqual(error, { code: -32602, message: `bad argument ${status}` });
		}
		assert.equal(srv.seen('prompts/get').length, 4);
	});
});
