// Never twice: what is sent again after a fault and what is not.
import { assert, assertFailure, assertOwnError, assertResult, assertText, describe, goAway, never, pause, scenario, until } from '../lib/scenario.mjs';

/** Faults after which a request may have been processed. */
const UNKNOWN = {
	'a reset': (e) => e.reset(),
	'a close without a byte': (e) => e.connection.socket.destroy(),
	'500': (e) => e.reply(500, { 'Content-Type': 'text/plain' }, 'boom'),
	'502 with HTML': (e) => e.reply(502, { 'Content-Type': 'text/html' }, '<html>'),
	'504': (e) => e.reply(504),
	'a bare 503': (e) => e.reply(503),
	'half a header': (e) => { e.write('HTTP/1.1 200 OK\r\nContent-Ty'); setTimeout(() => e.reset(), 20); },
	'half a body': (e) => { e.write('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"jsonrpc"'); setTimeout(() => e.connection.socket.destroy(), 20); },
	'a stream that ends without the answer': (e) => e.stream().end(),
	'a stream that is reset': (e) => { const out = e.stream().comment('x'); setTimeout(() => out.reset(), 20); },
};
/** Answers that say that the request was not processed. */
const NOT_PROCESSED = {
	'429 with Retry-After': (e) => e.reply(429, { 'Retry-After': '0' }),
	'429 without': (e) => e.reply(429),
	'503 with Retry-After': (e) => e.reply(503, { 'Retry-After': '0' }),
};
const REPEATABLE = {
	'tools/list': undefined, 'resources/list': undefined, 'resources/templates/list': undefined, 'prompts/list': undefined,
	'resources/read': { uri: 'mem://one' }, 'prompts/get': { name: 'greet' }, 'completion/complete': { ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'a', value: 'b' } },
	'resources/subscribe': { uri: 'mem://one' }, 'resources/unsubscribe': { uri: 'mem://one' }, 'logging/setLevel': { level: 'info' }, ping: undefined,
	'tasks/get': { taskId: 't' }, 'tasks/list': undefined, 'tasks/result': { taskId: 't' },
};

/** A call with effects that comes on a connection which was used before finds it closed. */
const closesUsedOnes = (srv) => srv.when((e) => e.tool === 'append' && e.connection.served > 1, (e) => e.connection.socket.destroy());

describe('a call with effects', { concurrency: 4 }, () => {
	for (const [what, fault] of Object.entries(UNKNOWN))
		scenario(`is answered outcome_unknown after ${what}, and ran once`, { args: ['--tool-errors', 'protocol'] }, async ({ srv, br }) => {
			await br.request('tools/list');
			srv.first('tools/call:append', (e) => { srv.count('append'); fault(e); });
			assertOwnError(await br.call('append'), 'outcome_unknown');
			assertText(await br.call('echo', { text: 'next' }), 'next');
			await never(() => srv.ran('append') > 1, 250, 'a second execution');
		});

	for (const [what, answer] of Object.entries(NOT_PROCESSED))
		scenario(`is sent again after ${what}, which says that it was not processed`, {}, async ({ srv, br }) => {
			srv.first('tools/call:append', answer);
			assertText(await br.call('append'), '1');
		});

	scenario('is sent when a server that refused connections is back', {}, async ({ srv, br }) => {
		await goAway(srv, br);
		const call = br.call('append');
		await srv.listen(srv.port);
		assertText(await call, '1');
		assert.equal(srv.ran('append'), 1);
	});

	scenario('is sent again when its body was not handed over whole', {}, async ({ srv, br }) => {
		let cuts = 0;
		srv.onHead = (head, headers, connection) => {
			if (cuts || !(Number(headers['content-length'] ?? 0) > 1 << 20 || /chunked/.test(headers['transfer-encoding'] ?? ''))) return false;
			cuts++;
			connection.socket.pause();
			setTimeout(() => connection.socket.resetAndDestroy(), 150);
			return true;
		};
		assertText(await br.call('append', { blob: 'x'.repeat(24 << 20) }).get(25000), '1');
		assert.equal(cuts, 1);
		assert.equal(srv.ran('append'), 1);
	});

	for (const how of ['resetAndDestroy', 'destroy'])
		scenario(`on a warmed connection that dies without a byte (${how}) runs once`, { server: { standing: false }, args: ['--tool-errors', 'protocol'] }, async ({ srv, br }) => {
			for (let i = 0; i < 3; i++) await br.call('echo');
			for (let i = 0; i < 4; i++) {
				const warm = [...srv.connections].map((c) => c.served);
				assert.ok(warm.some((n) => n > 1), 'a connection that was used before');
				const before = srv.ran('append');
				srv.first('tools/call:append', (e) => { srv.count('append'); assert.ok(e.connection.served > 1); e.connection.socket[how](); });
				assertOwnError(await br.call('append'), 'outcome_unknown');
				for (let k = 0; k < 3; k++) await br.call('echo');
				assert.equal(srv.ran('append'), before + 1, 'executions');
			}
			assert.equal(srv.seen('tools/call:append').length, 4, 'sent over the wire');
		});

	scenario('on an idle connection that a NAT forgot is not run twice', { server: { standing: false } }, async ({ srv, br }) => {
		await br.call('echo');
		for (const c of srv.connections) c.onData = () => { c.socket.resetAndDestroy(); return true; };
		assertResult(await br.request('tools/list'));
		for (const c of srv.connections) c.onData = () => { c.socket.resetAndDestroy(); return true; };
		await br.call('append');
		assert.ok(srv.ran('append') <= 1);
	});

	scenario('does not take an idle connection that the server said it is about to close', { server: { standing: false } }, async ({ srv, br }) => {
		srv.first('tools/call:echo', (e) => { srv.count('echo'); e.result({ content: [] }, { headers: { 'Keep-Alive': 'timeout=3, max=100' } }); });
		await br.call('echo');
		await pause(2200);
		closesUsedOnes(srv);
		assertText(await br.call('append'), '1');
	});

	scenario('takes an idle connection that the server keeps', { server: { standing: false } }, async ({ srv, br }) => {
		srv.first('tools/call:echo', (e) => { srv.count('echo'); e.result({ content: [] }, { headers: { 'Keep-Alive': 'timeout=30' } }); });
		await br.call('echo');
		const before = srv.accepted;
		await pause(2200);
		assertText(await br.call('append'), '1');
		assert.equal(srv.accepted, before);
	});

	scenario('does not take an idle connection that the server is about to close, as it did before', { server: { standing: false } }, async ({ srv, br }) => {
		for (let i = 0; i < 2; i++) {
			await br.call('echo');
			await pause(3000 + 200 * i);
			for (const c of srv.connections) c.socket.destroy();
			await until(() => br.stderr.split('connection that was idle').length > i + 1, 8000, 'a closing that was seen');
		}
		await br.call('echo');
		await pause(2200);
		closesUsedOnes(srv);
		assertText(await br.call('append'), '1');
	});

	scenario('is not sent on a connection that the server closes after each answer, once that was seen', { server: { standing: false }, args: ['--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		srv.when('tools/call', (e) => { srv.count(e.tool); e.result({ content: [{ type: 'text', text: 'done' }] }); setImmediate(() => e.connection.socket.end()); });
		for (let i = 0; !br.stderr.includes('none is used again for a while'); i++) {
			assert.ok(i < 100, 'never seen');
			await br.call('echo');
		}
		for (let i = 0; i < 60; i++) assertText(await br.call('append'), 'done');
		assert.equal(srv.ran('append'), 60);
	});

	scenario('that times out is answered and not sent again', { args: ['--request-timeout', '500ms', '--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		srv.first('tools/call:append', (e) => { srv.count('append'); e.silence(); });
		const { data } = assertOwnError(await br.call('append'));
		assert.ok(['timeout', 'outcome_unknown'].includes(data.kind), data.kind);
		await never(() => srv.ran('append') > 1, 400, 'a second execution');
		await srv.sees('notifications/cancelled');
	});

	for (const [what, answer] of Object.entries({
		'a JSON-RPC error': (e) => e.error(-32603, 'internal'),
		'an isError result': (e) => e.result({ content: [{ type: 'text', text: 'no' }], isError: true }),
		'an error whose id is null': (e) => e.json('{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"internal"}}'),
		'an error without an id': (e) => e.json('{"jsonrpc":"2.0","error":{"code":-32603,"message":"internal"}}'),
		'an error without an id on its stream': (e) => e.stream().event({ data: '{"jsonrpc":"2.0","error":{"code":-32603,"message":"internal"}}' }).end(),
	}))
		scenario(`that got ${what} was processed: the answer is passed on`, {}, async ({ srv, br }) => {
			srv.when('tools/call:append', (e) => { srv.count('append'); answer(e); });
			const got = await br.call('append');
			assert.ok(got.error?.message === 'internal' || got.result?.isError);
			assert.equal(srv.ran('append'), 1);
		});
});

/** Ways to lose the end of a response behind the last byte of its answer. */
const CUT_BEHIND = {
	'a Content-Length that is too large': (e, text) => e.write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${text.length + 100}\r\n\r\n${text}`),
	'the last chunk missing': (e, text) => e.write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n`),
};

describe('an answer that is complete', { concurrency: 4 }, () => {
	for (const [what, write] of Object.entries(CUT_BEHIND))
		for (const [how, end] of Object.entries({ closed: (s) => s.destroy(), reset: (s) => s.resetAndDestroy() }))
			scenario(`counts with ${what}, ${how}`, {}, async ({ srv, br }) => {
				await br.request('tools/list');
				srv.when('tools/call:append', (e) => {
					srv.count('append');
					write(e, JSON.stringify({ jsonrpc: '2.0', id: e.message.id, result: { content: [{ type: 'text', text: 'done' }] } }));
					setTimeout(() => end(e.connection.socket), 50);
				});
				assertText(await br.call('append'), 'done');
				assert.equal(srv.ran('append'), 1);
			});
});

describe('an answer with another status of success', { concurrency: 4 }, () => {
	for (const status of [201, 203])
		for (const [how, write] of Object.entries({
			JSON: (e, text) => e.reply(status, { 'Content-Type': 'application/json' }, text),
			'an event': (e, text) => e.reply(status, { 'Content-Type': 'text/event-stream' }, `data: ${text}\n\n`),
		}))
			scenario(`counts: ${status}, as ${how}, however large`, {}, async ({ srv, br }) => {
				await br.request('tools/list');
				const large = 'x'.repeat(3 << 20);
				srv.when('tools/call:append', (e) => {
					srv.count('append');
					write(e, JSON.stringify({ jsonrpc: '2.0', id: e.message.id, result: { content: [{ type: 'text', text: large }] } }));
				});
				assertText(await br.call('append'), large);
				assert.equal(srv.ran('append'), 1);
			});
});

describe('a repeatable request', { concurrency: 4 }, () => {
	for (const [method, params] of Object.entries(REPEATABLE))
		scenario(`${method} is sent again after a reset and a 502`, {}, async ({ srv, br }) => {
			const rule = srv.when(method, (e) => (rule.hits.length === 1 ? e.reset() : e.reply(502)), 2);
			assertResult(await br.request(method, params));
			assert.equal(srv.seen(method).length, 3);
		});

	for (const [what, fault] of Object.entries(UNKNOWN))
		scenario(`is sent again after ${what}`, {}, async ({ srv, br }) => {
			srv.first('tools/list', fault);
			assertResult(await br.request('tools/list'));
		});

	for (const name of ['echo', 'put'])
		scenario(`a call of ${name} is one because its annotations say so, once they were listed`, {}, async ({ srv, br }) => {
			srv.first(`tools/call:${name}`, (e) => e.reset());
			assertFailure(await br.call(name));
			assert.equal(srv.seen(`tools/call:${name}`).length, 1);
			await br.request('tools/list');
			srv.first(`tools/call:${name}`, (e) => e.reset());
			assertResult(await br.call(name));
			assert.equal(srv.seen(`tools/call:${name}`).length, 3);
		});

	scenario('a call is one when its tool stands on the last of many pages', {}, async ({ srv, br }) => {
		srv.tools = [...Array.from({ length: 40 }, (_, i) => ({ name: `t${i}`, inputSchema: { type: 'object' } })), { name: 'last', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } }];
		srv.pageSize = 10;
		let cursor;
		do { cursor = assertResult(await br.request('tools/list', cursor ? { cursor } : undefined)).nextCursor; } while (cursor);
		srv.first('tools/call:last', (e) => e.reset());
		assertResult(await br.call('last'));
	});

	scenario('a call is none any more after list_changed, until listed again, and the newest listing wins', {}, async ({ srv, br }) => {
		await br.request('tools/list');
		await srv.standing();
		srv.notify('notifications/tools/list_changed');
		await br.notified('notifications/tools/list_changed');
		srv.first('tools/call:echo', (e) => e.reset());
		assertFailure(await br.call('echo'));
		await br.request('tools/list');
		srv.first('tools/call:echo', (e) => e.reset());
		assertResult(await br.call('echo'));
		srv.tools.find((t) => t.name === 'echo').annotations = { readOnlyHint: false };
		await br.request('tools/list');
		srv.first('tools/call:echo', (e) => e.reset());
		assertFailure(await br.call('echo'));
	});

	for (const annotations of [{ readOnlyHint: 'true' }, { readOnlyHint: 1 }, { idempotentHint: {} }, 'readOnlyHint', [true], { readonlyhint: true }, null])
		scenario(`a call is none when the annotations are ${JSON.stringify(annotations)}`, {}, async ({ srv, br }) => {
			srv.tools.push({ name: 'liar', inputSchema: { type: 'object' }, annotations });
			await br.request('tools/list');
			srv.first('tools/call:liar', (e) => e.reset());
			assertFailure(await br.call('liar'));
			assert.equal(srv.seen('tools/call:liar').length, 1);
		});

	scenario('a call is one when --retry-tools names it', { args: ['--retry-tools', 'app*', '--retry-tools', 's?eps'] }, async ({ srv, br }) => {
		for (const name of ['append', 'steps']) { srv.first(`tools/call:${name}`, (e) => e.reset()); assertResult(await br.call(name, { count: 1 })); }
		srv.first('tools/call:ask', (e) => e.reset());
		assertFailure(await br.call('ask'));
	});

	scenario('a call is none when --no-retry-tools names it, whatever else says', { args: ['--no-retry-tools', 'ec*', '--retry-tools', '*'] }, async ({ srv, br }) => {
		await br.request('tools/list');
		srv.first('tools/call:echo', (e) => e.reset());
		assertFailure(await br.call('echo'));
		srv.first('tools/call:append', (e) => e.reset());
		assertResult(await br.call('append'));
	});

	scenario('a call is none by its annotations with --trust-annotations no', { args: ['--trust-annotations', 'no'] }, async ({ srv, br }) => {
		await br.request('tools/list');
		srv.first('tools/call:echo', (e) => e.reset());
		assertFailure(await br.call('echo'));
	});

	scenario('is sent again after the errors that --retry-errors names, and no other', { args: ['--retry-errors', '-32603'] }, async ({ srv, br }) => {
		srv.first('tools/list', (e) => e.error(-32603, 'internal'));
		assertResult(await br.request('tools/list'));
		srv.first('tools/list', (e) => e.error(-32000, 'other'));
		assert.equal((await br.request('tools/list')).error?.code, -32000);
		srv.first('tools/call:append', (e) => e.error(-32603, 'internal'));
		assert.equal((await br.call('append')).error?.code, -32603);
	});

	scenario('--max-retries bounds how often one request is sent again', { args: ['--max-retries', '2'] }, async ({ srv, br }) => {
		srv.when('tools/list', (e) => e.reply(502));
		assertFailure(await br.request('tools/list'));
		assert.ok(srv.seen('tools/list').length <= 3, `${srv.seen('tools/list').length} attempts`);
		srv.clear();
		await until(async () => !(await br.call('echo')).result?.isError, 5000, 'a call that works again');
	});
});

describe('the idempotency key', { concurrency: 4 }, () => {
	scenario('is one for all attempts of one call, and another for the next call', {}, async ({ srv, br }) => {
		await br.request('tools/list');
		srv.first('tools/call:put', (e) => e.reset());
		await br.call('put');
		await br.call('put');
		const keys = srv.seen('tools/call:put').map((e) => e.headers['idempotency-key']);
		assert.equal(keys.length, 3);
		assert.ok(keys[0]);
		assert.equal(keys[1], keys[0]);
		assert.notEqual(keys[2], keys[0]);
		assert.ok(srv.exchanges.filter((e) => e.kind !== 'tools/call').every((e) => !e.headers['idempotency-key']));
	});

	scenario("is the caller's own where there is one", {}, async ({ srv, br }) => {
		await br.call('put', {}, { meta: { idempotencyKey: 'from-meta-1' } });
		await br.call('put', { idempotencyKey: 'from-arguments-1' });
		assert.deepEqual(srv.seen('tools/call:put').map((e) => e.headers['idempotency-key'].replaceAll('"', '')), ['from-meta-1', 'from-arguments-1']);
	});

	scenario('can not be used to smuggle a header', {}, async ({ srv, br }) => {
		await br.call('put', {}, { meta: { idempotencyKey: 'a\r\nX-Evil: 1' } });
		assert.equal(srv.seen('tools/call:put')[0].headers['x-evil'], undefined);
	});

	scenario('is not sent with --no-idempotency-key', { args: ['--no-idempotency-key'] }, async ({ srv, br }) => {
		await br.call('put');
		assert.equal(srv.seen('tools/call:put')[0].headers['idempotency-key'], undefined);
	});
});
