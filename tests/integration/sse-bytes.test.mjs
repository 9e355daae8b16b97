// Server-sent events byte by byte, and streams that are resumed.
import { assert, assertFailure, assertResult, assertText, describe, never, pause, scenario, textOf, until } from '../lib/scenario.mjs';

const TEXT = 'žluť-世界-😀';
const bytes = (s) => [...Buffer.from(s)].map((b) => Buffer.from([b]));
const answer = (e, value = TEXT) => e.envelope({ result: { content: [{ type: 'text', text: value }] } });
const pretty = (json) => JSON.stringify(JSON.parse(json), null, 1).split('\n');
/** Cuts the text in two after the first appearance of `mark` (a Buffer), `into` bytes of it. */
const splitAt = (s, mark, into) => { const b = Buffer.from(s), k = b.indexOf(mark) + into; return [b.subarray(0, k), b.subarray(k)]; };

const ENCODINGS = {
	'LF': (j) => [`data: ${j}\n\n`],
	'CRLF': (j) => [`event: message\r\ndata: ${j}\r\n\r\n`],
	'CR': (j) => [`event: message\rdata: ${j}\r\r`],
	'mixed line ends': (j) => [`event: message\r\ndata: ${j}\n\r\n`],
	'a byte order mark': (j) => [Buffer.from([0xef, 0xbb, 0xbf]), `data: ${j}\n\n`],
	'a byte order mark in single bytes': (j) => bytes(`\uFEFFdata: ${j}\n\n`),
	'single bytes and LF': (j) => bytes(`data: ${j}\n\n`),
	'single bytes and CRLF': (j) => bytes(`event: message\r\ndata: ${j}\r\n\r\n`),
	'single bytes and CR': (j) => bytes(`event: message\rdata: ${j}\r\r`),
	'a cut inside a CRLF': (j) => splitAt(`event: message\r\ndata: ${j}\r\n\r\n`, '\r\ndata', 1),
	'a cut inside the blank CRLF line': (j) => [`data: ${j}\r\n\r`, '\n'],
	'a cut inside a character': (j) => splitAt(`data: ${j}\n\n`, '世', 1),
	'a cut inside an emoji': (j) => splitAt(`data: ${j}\n\n`, '😀', 2),
	'a cut inside the field name': (j) => ['da', `ta: ${j}\n\n`],
	'comments around it': (j) => [`: hello\n:\n:x\ndata: ${j}\n: in between\n\n: after\n\n`],
	'data over several lines': (j) => [`${pretty(j).map((l) => `data: ${l}\n`).join('')}\n`],
	'no blank after the colon': (j) => [`data:${j}\n\n`],
	'unknown fields and odd lines': (j) => [`foo: bar\nnothing\ndatax: no\nevent:message\ndata: ${j}\n\n`],
	'blank events before and after': (j) => [`\n\nretry: 500\n\ndata\n\ndata:\n\nid: 5\n\ndata: ${j}\n\n\n\n`],
	'a retry that is no number': (j) => [`retry: 12x\nretry: -1\nretry:\ndata: ${j}\n\n`],
	'an id with NUL': (j) => [`id: a\0b\ndata: ${j}\n\n`],
};

describe('server-sent events', { concurrency: 4 }, () => {
	for (const [what, pieces] of Object.entries(ENCODINGS))
		scenario(`an event with ${what} gives the answer once, unchanged`, {}, async ({ srv, br }) => {
			srv.first('tools/call', async (e) => {
				const out = e.stream();
				for (const p of pieces(answer(e))) { out.raw(p); await new Promise(setImmediate); }
				out.end();
			});
			const call = br.call('echo');
			assertText(await call, TEXT);
			assertText(await br.call('echo', { text: 'next' }), 'next');
		});

	for (const [what, end] of Object.entries({ LF: '\n\n', CRLF: '\r\n\r\n', 'a lone CR': '\r\r' }))
		scenario(`${what} ends an event at once, with no further byte`, {}, async ({ srv, br }) => {
			let out;
			srv.first('tools/call', (e) => { out = e.stream().raw(`data: ${answer(e)}${end}`); });
			assertText(await br.call('echo'), TEXT);
			assert.ok(out.open, 'the stream still stands');
		});

	scenario('a body without chunks that ends with the connection is a stream, too', {}, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.stream({ chunked: false }).raw(`data: ${answer(e)}\n\n`).end());
		assertText(await br.call('echo'), TEXT);
	});

	scenario('another event type never brings an answer', {}, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.stream().event({ event: 'shadow', data: answer(e, 'FAKE') }).event({ event: 'message', data: answer(e) }).end());
		assertText(await br.call('echo'), TEXT);
	});

	scenario('an event without its blank line is dropped', { args: ['--request-timeout', '800ms'] }, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.stream().raw(`data: ${answer(e)}\n`).end());
		assertFailure(await br.call('append'));
	});

	scenario('an empty data event is no message', {}, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.stream().event({ id: 'p-0', data: '' }).event({ id: 'p-1', data: answer(e) }).end());
		assertText(await br.call('echo'), TEXT);
		assert.equal(br.lines.length, 2);
	});

	scenario('a data line that is no JSON fails its own request only', { args: ['--request-timeout', '800ms'] }, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.stream().event({ data: 'not json' }).end());
		assertFailure(await br.call('append'));
		assertText(await br.call('echo', { text: 'next' }), 'next');
	});

	scenario('a stream of single bytes on HTTP+SSE is read, endpoint and all', { server: { mode: 'sse' }, connect: false }, async ({ srv, br }) => {
		srv.when('GET', (e) => {
			srv.serve(e);
			const out = srv.session.channels.get('standing').out;
			let queue = Promise.resolve();
			out.event = ({ event = 'message', data }) => { queue = queue.then(async () => { for (const b of bytes(`event: ${event}\r\ndata: ${data}\r\n\r\n`)) { out.raw(b); await new Promise(setImmediate); } }); };
		});
		await br.connect({ version: '2024-11-05' });
		assertText(await br.call('echo', { text: TEXT }), TEXT);
	});
});

describe('streams that are resumed', { concurrency: 4 }, () => {
	const resumable = (extra = {}) => ({ version: '2025-11-25', server: { respond: 'sse', ids: true, ...extra } });

	for (const version of ['2025-03-26', '2025-06-18', '2025-11-25'])
		scenario(`a call's stream of ${version} that breaks is resumed with Last-Event-ID and runs once`, { version, server: { respond: 'sse', ids: true } }, async ({ srv, br }) => {
			const steps = br.call('steps', { count: 6, gap: 60 }, { meta: { progressToken: 'tok' } });
			await br.notified('notifications/progress', 2);
			srv.seen('tools/call')[0].reset();
			assertText(await steps, 'all steps');
			assert.deepEqual(br.notifications.map((m) => m.params.progress), [1, 2, 3, 4, 5, 6]);
			assert.equal(srv.ran('steps'), 1);
			assert.ok(srv.seen('GET').some((e) => /^call\d+-\d+$/.test(e.headers['last-event-id'] ?? '')));
		});

	scenario('a stream that breaks again and again is resumed from the last event each time', resumable(), async ({ srv, br }) => {
		const steps = br.call('steps', { count: 8, gap: 80 }, { meta: { progressToken: 1 } });
		const name = await until(() => srv.seen('tools/call')[0]?.channel?.name, 3000, 'the channel');
		for (let n = 2; n <= 6; n += 2) {
			await br.notified('notifications/progress', n);
			const out = srv.session.channels.get(name).out;
			if (out.open) out.reset();
		}
		assertText(await steps, 'all steps');
		assert.deepEqual(br.notifications.map((m) => m.params.progress), [1, 2, 3, 4, 5, 6, 7, 8]);
		assert.equal(srv.ran('steps'), 1);
	});

	scenario('a server that closes after priming is polled after its retry, as often as it takes, and that is no failure', resumable(), async ({ srv, br }) => {
		const polls = [];
		let closed = 0, left = 4;
		srv.when('tools/call', (e) => { srv.count('append'); e.stream().event({ id: 'prime-0', retry: 200, data: '' }).end(); closed = performance.now(); });
		srv.when((e) => /^prime-/.test(e.headers['last-event-id'] ?? ''), (e) => {
			polls.push(performance.now() - closed);
			const out = e.stream();
			if (--left) out.event({ id: `prime-${5 - left}`, data: '' }).end();
			else out.event({ id: 'prime-9', data: `{"jsonrpc":"2.0","id":${srv.seen('tools/call')[0].id},"result":{"content":[{"type":"text","text":"polled"}]}}` }).end();
			closed = performance.now();
		});
		assertText(await br.call('append'), 'polled');
		assert.equal(polls.length, 4);
		for (const ms of polls) assert.ok(ms >= 195 && ms < 200 * 1.1 + 120, `polled after ${ms} ms where retry said 200`);
		assert.equal(srv.ran('append'), 1);
		assert.equal(srv.seen('initialize').length, 1);
	});

	scenario('retry: 0 means the initial delay, not at once', resumable(), async ({ srv, br }) => {
		const old = await srv.standing();
		old.event({ retry: 0 });
		await pause(30);
		const closed = performance.now();
		old.end();
		await until(() => srv.seen('GET').length === 2, 4000, 'the second GET');
		assert.ok(performance.now() - closed > 60, 'opened again at once');
	});

	scenario('duplicates after a resume reach the client once', resumable(), async ({ srv, br }) => {
		let events;
		const note = (i) => ({ id: `dup-${i}`, data: { jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 1, progress: i } } });
		srv.when('tools/call', (e) => {
			events = [note(1), note(2), { id: 'dup-3', data: answer(e, 'once') }, { id: 'dup-4', data: answer(e, 'once') }];
			const out = e.stream();
			out.event(events[0]).event(events[1]);
			setTimeout(() => out.reset(), 60);
		});
		srv.when((e) => /^dup-/.test(e.headers['last-event-id'] ?? ''), (e) => { const out = e.stream(); for (const x of events) out.event(x); out.end(); });
		assertText(await br.call('steps', {}, { meta: { progressToken: 1 } }), 'once');
		await br.request('ping');
		assert.deepEqual(br.notifications.map((m) => m.params.progress), [1, 2]);
	});

	scenario('an id with NUL is not what a resume begins from', resumable(), async ({ srv, br }) => {
		const out = await srv.standing();
		out.raw('id: good-7\ndata: {"jsonrpc":"2.0","method":"notifications/a"}\n\nid: bad\0id\ndata: {"jsonrpc":"2.0","method":"notifications/b"}\n\n');
		await br.notified('notifications/b');
		out.reset();
		await until(() => srv.seen('GET').length >= 2, 5000, 'the second GET');
		assert.equal(srv.seen('GET')[1].headers['last-event-id'], 'good-7');
	});

	scenario('an empty id line takes the last id back', resumable(), async ({ srv, br }) => {
		const out = await srv.standing();
		out.raw('id: good-7\ndata: {"jsonrpc":"2.0","method":"notifications/a"}\n\nid\ndata: {"jsonrpc":"2.0","method":"notifications/b"}\n\n');
		await br.notified('notifications/b');
		out.reset();
		await until(() => srv.seen('GET').length >= 2, 5000, 'the second GET');
		assert.equal(srv.seen('GET')[1].headers['last-event-id'], undefined);
	});

	scenario('notifications that fell into a gap of the standing stream come once and in order', resumable(), async ({ srv, br }) => {
		await srv.standing();
		const say = (i) => srv.notify('notifications/resources/updated', { uri: `mem://${i}` });
		say(0);
		await br.notified('notifications/resources/updated');
		srv.session.channels.get('standing').out.reset();
		for (const i of [1, 2, 3]) say(i);
		await br.notified('notifications/resources/updated', 4);
		say(4);
		await br.notified('notifications/resources/updated', 5);
		assert.equal(br.notifications.map((m) => m.params.uri.at(-1)).join(''), '01234');
	});

	scenario('the first attempt after a stream that ended comes retry ms later and at most a tenth more', resumable({ retry: 500 }), async ({ srv, br }) => {
		await srv.standing();
		await br.call('echo');
		const ended = performance.now();
		srv.session.channels.get('standing').out.end();
		await until(() => srv.seen('GET').length === 2, 4000, 'the second GET');
		const ms = performance.now() - ended;
		assert.ok(ms >= 490 && ms <= 500 * 1.1 + 120, `after ${ms} ms`);
	});

	scenario('a resume the server refuses ends the call by one error when it may have run', resumable(), async ({ srv, br }) => {
		srv.when('tools/call', (e) => { srv.count('append'); const out = e.stream().event({ id: 'lost-0', data: '' }); setTimeout(() => out.reset(), 40); });
		srv.when((e) => /^lost-/.test(e.headers['last-event-id'] ?? ''), (e) => e.reply(400, {}, 'no such event'));
		assertFailure(await br.call('append'));
		assert.equal(srv.ran('append'), 1);
		srv.clear();
		assertText(await br.call('echo', { text: 'next' }), 'next');
	});

	for (const [what, resume] of Object.entries({
		'that is refused by a busy server': (e) => e.reply(503),
		'that is cut off': (e) => e.reset(),
		'that brings no message': (e) => e.stream().event({ id: 'held-0', data: '' }).end(),
	}))
		scenario(`a resumption ${what} again and again does not put the time limit of its request off`, {
			...resumable(), args: ['--request-timeout', '1500ms', '--tool-errors', 'protocol'] }, async ({ srv, br }) => {
			srv.when('tools/call', (e) => { srv.count('append'); e.stream().event({ id: 'held-0', retry: 100, data: '' }).end(); });
			const rule = srv.when((e) => /^held-/.test(e.headers['last-event-id'] ?? ''), resume);
			const asked = performance.now();
			assert.equal((await br.call('append').get(5000)).error.data.kind, 'outcome_unknown');
			assert.ok(performance.now() - asked > 1400);
			assert.ok(rule.hits.length > 1);
			assert.equal(srv.ran('append'), 1);
			await srv.sees('notifications/cancelled');
		});

	scenario('a call whose session was lost is not looked for in the next one', { ...resumable(), args: ['--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		srv.when('tools/call:append', (e) => { srv.count('append'); e.stream().event({ id: 'old-0', retry: 500, data: '' }).end(); });
		const rule = srv.when((e) => e.headers['last-event-id'] === 'old-0', (e) => e.stream());
		const lost = br.call('append');
		await srv.sees('tools/call:append');
		srv.forget();
		assertText(await br.call('echo', { text: 'in the new session' }), 'in the new session');
		assert.equal((await lost.get(4000)).error.data.kind, 'outcome_unknown');
		assert.equal(rule.hits.length, 0);
		assert.equal(srv.ran('append'), 1);
	});

	scenario('a stream without ids that ends without the answer is not resumed', { server: { respond: 'sse' } }, async ({ srv, br }) => {
		srv.first('tools/call', (e) => { srv.count('append'); e.stream().event({ data: { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'w' } } }).end(); });
		assertFailure(await br.call('append'));
		assert.equal(srv.ran('append'), 1);
	});

	scenario('a list whose stream ended without the answer is asked again', { server: { respond: 'sse' } }, async ({ srv, br }) => {
		srv.first('tools/list', (e) => e.stream().end());
		assertResult(await br.request('tools/list'));
		assert.equal(srv.seen('tools/list').length, 2);
	});

	scenario('the answer alone on the stream is enough: the rest of the stream may hang', { server: { respond: 'sse' } }, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.stream().event({ data: answer(e) }));
		assert.equal(textOf(await br.call('echo')), TEXT);
		assertText(await br.call('echo', { text: 'next' }), 'next');
		await never(() => br.stray.length, 50, 'a second answer');
	});
});
