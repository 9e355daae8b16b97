// Hostile and broken input, from the client and from the server.
import { assert, assertFailure, assertOwnError, assertResult, assertText, describe, never, SANITIZED, scenario, textOf, until } from '../lib/scenario.mjs';

const ask = (id, extra = '') => `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"method":"tools/call","params":{"name":"echo","arguments":{"text":"t"}}${extra}}`;
/** Waits for the answer with id null that the last line provoked. */
const refused = (br, n = 1) => until(() => br.stray.length >= n && br.stray[n - 1], 4000, `refusal ${n}`);

describe('bad input from the client', { concurrency: 4 }, () => {
	const NOT_JSON = {
		'words': 'hello there', 'a broken object': '{"jsonrpc":"2.0","id":1,', 'a comma too many': '{"jsonrpc":"2.0","id":1,"method":"ping",}', 'single quotes': "{'jsonrpc':'2.0'}",
		'two values': '{"jsonrpc":"2.0","method":"x"} {"jsonrpc":"2.0","method":"y"}', 'NaN': '{"jsonrpc":"2.0","id":NaN,"method":"ping"}', 'a raw control character in a string': '{"jsonrpc":"2.0","id":"a\tb","method":"ping"}', 'a lone bracket': ']',
		'a leading zero': '{"jsonrpc":"2.0","id":012,"method":"ping"}', 'a bad escape': '{"jsonrpc":"2.0","id":"\\x","method":"ping"}',
	};
	for (const [what, line] of Object.entries(NOT_JSON))
		scenario(`${what} gets -32700 with id null, and the next line works`, { strays: 1 }, async ({ srv, br }) => {
			br.raw(line);
			const r = await refused(br);
			assert.equal(r.error.code, -32700);
			assert.equal(r.id, null);
			assertText(await br.call('echo', { text: 'next' }), 'next');
			assert.ok(!srv.exchanges.some((e) => e.text === line));
		});

	const NOT_RPC = { 'a number': '42', 'a string': '"x"', 'null': 'null', 'an object without anything': '{}', 'no version': '{"id":"v","method":"ping"}', 'the wrong version': '{"jsonrpc":"1.0","method":"x"}', 'a method that is no string': '{"jsonrpc":"2.0","method":7}', 'an empty array': '[]' };
	for (const [what, line] of Object.entries(NOT_RPC))
		scenario(`${what} gets -32600, and the next line works`, { strays: 1 }, async ({ srv, br }) => {
			const n = srv.exchanges.length;
			br.raw(line);
			assert.equal((await refused(br)).error.code, -32600);
			assertText(await br.call('echo', { text: 'next' }), 'next');
			assert.ok(srv.exchanges.slice(n).every((e) => e.text !== line));
		});

	scenario('invalid UTF-8 is refused, never forwarded', { strays: 1 }, async ({ srv, br }) => {
		br.raw(Buffer.concat([Buffer.from('{"jsonrpc":"2.0","id":"u","method":"tools/call","params":{"name":"append","arguments":{"text":"'), Buffer.from([0xc3, 0x28, 0xff]), Buffer.from('"}}}\n')]));
		const r = await refused(br);
		assert.ok([-32700, -32600].includes(r.error.code), JSON.stringify(r.error));
		assertText(await br.call('echo', { text: 'next' }), 'next');
		assert.equal(srv.ran('append'), 0);
	});

	scenario('a NUL byte is refused, never forwarded', { strays: 1 }, async ({ srv, br }) => {
		br.raw('{"jsonrpc":"2.0","method":"notifications/x","params":{"a":"\0"}}');
		assert.ok((await refused(br)).error);
		await br.call('echo');
		assert.equal(srv.seen('notifications/x').length, 0);
	});

	for (const [what, open, close] of [['arrays', '[', ']'], ['objects', '{"a":', '}']])
		scenario(`${what} nested beyond 512 are refused, never fatal`, { strays: 2 }, async ({ srv, br }) => {
			const deep = (n) => `{"jsonrpc":"2.0","method":"notifications/deep","params":{"a":${open.repeat(n)}1${close.repeat(n)}}}`;
			br.raw(deep(600));
			await refused(br);
			br.raw(deep(200000));
			await refused(br, 2);
			br.raw(deep(400));
			await srv.sees('notifications/deep');
			assert.equal(srv.seen('notifications/deep').length, 1);
			for (const line of [`{"jsonrpc":"2.0","id":"d1","method":"x","params":{"a":${open.repeat(600)}1${close.repeat(600)}}}`, `{"params":{"a":${open.repeat(600)}1${close.repeat(600)}},"method":"x","id":"d2","jsonrpc":"2.0"}`]) {
				const asked = br.expect(/"(d\d)"/.exec(line)[1]);
				br.raw(line);
				assert.equal((await asked).error.code, -32600);
			}
		});

	scenario('a line over --max-message-size is refused by its id, its rest is skipped, and the next line works', { args: ['--max-message-size', '100000'] }, async ({ srv, br }) => {
		const p = br.expect('big');
		br.raw(`{"jsonrpc":"2.0","id":"big","method":"tools/call","params":{"name":"append","arguments":{"text":"${'x'.repeat(3000000)}"}}}`);
		assertTooLarge(await p);
		assertText(await br.call('echo', { text: 'next' }), 'next');
		assert.equal(srv.ran('append'), 0);
	});

	scenario('a line over the limit whose id was not seen gets one refusal without', { args: ['--max-message-size', '100000'], strays: 1 }, async ({ br }) => {
		br.raw(`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"append","arguments":{"text":"${'x'.repeat(300000)}"}},"id":"late"}`);
		assert.ok((await refused(br)).error);
		assertText(await br.call('echo', { text: 'next' }), 'next');
	});

	scenario('an endless line does not fill the memory', { args: ['--max-message-size', '1000000'], strays: 1 }, async ({ br }) => {
		await br.call('echo');
		const before = br.status('VmHWM');
		br.raw(Buffer.from('{"jsonrpc":"2.0","method":"x","params":"'));
		for (let i = 0; i < 400; i++) { br.raw(Buffer.alloc(100000, 120)); if (br.child.stdin.writableNeedDrain) await new Promise((ok) => br.child.stdin.once('drain', ok)); }
		await refused(br);
		br.raw('');
		assertText(await br.call('echo', { text: 'next' }), 'next');
		assert.ok(br.status('VmHWM') - before < (SANITIZED ? 40000 : 8000), `grew by ${br.status('VmHWM') - before} kB`);
	});

	scenario('an answer to a question nobody asked is harmless', {}, async ({ br }) => {
		br.raw('{"jsonrpc":"2.0","id":"nobody","result":{}}');
		assertText(await br.call('echo', { text: 'next' }), 'next');
	});

	scenario('two requests with one id both get an answer or a refusal', {}, async ({ srv, br }) => {
		const rule = srv.when('tools/call', (e) => { if (rule.hits.length === 1) setTimeout(() => srv.serve(e), 200); else srv.serve(e); });
		br.raw(ask('twin'));
		br.raw(ask('twin'));
		await until(() => br.lines.length >= 3, 5000, 'two answers');
		await never(() => br.lines.length > 3, 150, 'a third');
		br.stray.length = 0;
	});

	scenario('garbage of all kinds in between harms no call', {}, async ({ br }) => {
		let seed = 7;
		const random = (n) => { seed = (seed * 1103515245 + 12345) & 0x7fffffff; return seed % n; };
		for (let i = 0; i < 200; i++) br.raw(Buffer.concat([Buffer.from(Array.from({ length: random(200) }, () => random(256)).filter((b) => b !== 10)), Buffer.from('\n')]));
		assertText(await br.call('echo', { text: 'still here' }), 'still here');
		assert.ok(br.stray.every((m) => m.id === null && m.error));
		br.stray.length = 0;
	});
});

/** message_too_large as an error, or as the isError result of a tools/call. */
function assertTooLarge(answer) {
	if (answer.error) assertOwnError(answer, 'message_too_large');
	else assert.match(assertFailure(answer), /large|size|limit/i);
}

const ok = (e, text = 'x') => e.envelope({ result: { content: [{ type: 'text', text }] } });
const BAD_ANSWERS = {
	'HTML': (e) => e.reply(200, { 'Content-Type': 'text/html' }, '<html>captive portal</html>'),
	'truncated JSON': (e) => e.json(ok(e).slice(0, -4)),
	'nothing at all': (e) => e.json(''),
	'a wrong content type': (e) => e.reply(200, { 'Content-Type': 'image/png' }, Buffer.from([0x89, 0x50])),
	'JSON that is no JSON-RPC': (e) => e.json({ ok: true }),
	'an unknown id': (e) => e.json({ jsonrpc: '2.0', id: 'other', result: {} }),
	'an event that is no JSON': (e) => e.stream().event({ data: 'oops' }).end(),
	'invalid UTF-8': (e) => e.reply(200, { 'Content-Type': 'application/json' }, Buffer.concat([Buffer.from(ok(e).slice(0, 60)), Buffer.from([0xff, 0xfe]), Buffer.from('"}]}}')])),
	'nesting beyond 512': (e) => e.json(ok(e).replace('"x"', `${'['.repeat(3000)}${']'.repeat(3000)}`)),
	'both result and error': (e) => e.json(`{"jsonrpc":"2.0","id":${e.id},"result":{},"error":{"code":1,"message":"m"}}`),
	'neither result nor error': (e) => e.json(`{"jsonrpc":"2.0","id":${e.id}}`),
	'a status nobody knows': (e) => e.reply(299, { 'Content-Type': 'text/plain' }, 'what'),
	'418 with text': (e) => e.reply(418, { 'Content-Type': 'text/plain' }, 'teapot'),
	'broken gzip': (e) => e.reply(200, { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' }, 'not gzip'),
	'a chunk size that is none': (e) => { e.write('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n'); },
	'no HTTP': (e) => { e.write('SSH-2.0-OpenSSH_9\r\n'); setTimeout(() => e.connection.socket.destroy(), 30); },
	'a length that is too long': (e) => { const b = ok(e); e.write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${b.length + 50}\r\n\r\n${b.slice(0, -2)}`); },
	'an endless header': (e) => { e.write('HTTP/1.1 200 OK\r\n'); const timer = setInterval(() => { if (e.open) e.write(`X-Pad: ${'p'.repeat(60000)}\r\n`); else clearInterval(timer); }, 2); e.connection.socket.on('close', () => clearInterval(timer)); },
};

describe('bad input from the server', { concurrency: 4 }, () => {
	for (const [what, answer] of Object.entries(BAD_ANSWERS))
		scenario(`${what} gives the request one clear answer, and the next one works`, { args: ['--request-timeout', '900ms', '--max-retries', '1'] }, async ({ srv, br }) => {
			srv.first('tools/call:append', answer);
			const got = await br.call('append');
			assertFailure(got);
			assertText(await br.call('echo', { text: 'next' }), 'next');
			assert.equal(srv.seen('tools/call:append').length, 1);
		});

	for (const shape of ['json', 'sse'])
		scenario(`an endless answer ends at --max-message-size without filling the memory, ${shape}`, { args: ['--max-message-size', '1000000', '--request-timeout', '20s'] }, async ({ srv, br }) => {
			await br.call('echo');
			const before = br.status('VmHWM');
			srv.first('tools/call:append', (e) => {
				const head = `{"jsonrpc":"2.0","id":${e.id},"result":{"x":"`;
				const out = e.stream({ headers: shape === 'json' ? { 'Content-Type': 'application/json' } : {} });
				out.raw(shape === 'json' ? head : `data: ${head}`);
				const more = () => { while (out.open && e.connection.socket.writableLength < 1 << 20) out.raw('y'.repeat(65536)); if (out.open) setTimeout(more, 2); };
				more();
			});
			const got = await br.call('append');
			assertTooLarge(got);
			assert.ok(br.status('VmHWM') - before < (SANITIZED ? 40000 : 10000), `grew by ${br.status('VmHWM') - before} kB`);
			assertText(await br.call('echo', { text: 'next' }), 'next');
		});

	scenario('an endless line on the standing stream is skipped and the stream is used again', { args: ['--max-message-size', '200000'] }, async ({ srv, br }) => {
		const out = await srv.standing();
		out.raw(`data: {"jsonrpc":"2.0","method":"notifications/big","params":"${'z'.repeat(900000)}"}\n\n`);
		await until(async () => { srv.notify('notifications/small'); await new Promise((r) => setTimeout(r, 50)); return br.notifications.some((m) => m.method === 'notifications/small'); }, 6000, 'a notification after the big one');
		assert.ok(!br.notifications.some((m) => m.method === 'notifications/big'));
		assertText(await br.call('echo', { text: 'next' }), 'next');
	});

	scenario('a 4xx whose body is an error for this request is passed on', {}, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.error(-32602, 'Bad argument', { status: 400 }));
		const answer = await br.call('append');
		assert.deepEqual(answer.error, { code: -32602, message: 'Bad argument' });
		assert.equal(srv.seen('tools/call').length, 1);
	});

	scenario('garbage on the standing stream reaches nobody', {}, async ({ srv, br }) => {
		const out = await srv.standing();
		for (const data of ['{', '[]', '42', '{"jsonrpc":"2.0"}', '{"jsonrpc":"2.0","id":1}', 'null', '\u0000', '[[[[']) out.event({ data });
		out.raw(Buffer.from([0x64, 0x61, 0x74, 0x61, 0x3a, 0xff, 0xfe, 0x0a, 0x0a]));
		srv.notify('notifications/fine');
		await br.notified('notifications/fine');
		assert.equal(br.notifications.length, 1);
	});

	scenario('a tools/list of 50,000 tools is passed on and learned from', {}, async ({ srv, br }) => {
		srv.tools.push(...Array.from({ length: 50000 }, (_, i) => ({ name: `tool-${i}`, inputSchema: { type: 'object' }, annotations: { readOnlyHint: i % 2 === 0 } })));
		const { tools } = assertResult(await br.request('tools/list').get(20000));
		assert.equal(tools.length, srv.tools.length);
		srv.first('tools/call:tool-49998', (e) => e.reset());
		assertResult(await br.call('tool-49998'));
		srv.first('tools/call:tool-49999', (e) => e.reset());
		assertFailure(await br.call('tool-49999'));
	});

	scenario('connections that say nonsense in place of HTTP harm nobody', {}, async ({ srv, br }) => {
		await srv.standing();
		let n = 0;
		srv.onConnection = (s) => { if (n++ > 4) return false; s.end('\x15\x03\x01\x00\x02\x02\x46'); return true; };
		srv.cut();
		assert.equal(textOf(await br.request('tools/list')), undefined);
		await until(() => n > 1, 3000, 'connections');
	});
});
