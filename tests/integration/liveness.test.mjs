// Lines that are dead without saying so, and slow ones that are not.
import net from 'node:net';
import fs from 'node:fs';
import { assert, assertFailure, assertOwnError, assertResult, assertText, describe, never, pause, scenario, SLOW, textOf, until } from '../lib/scenario.mjs';

const PROTOCOL = ['--tool-errors', 'protocol'];

describe('a dead line', { concurrency: 4 }, () => {
	scenario('is found by --connect-timeout when a handshake never ends', { server: false, connect: false, url: () => 'https://127.0.0.1:1/mcp', args: [] }, async ({ bridge, t }) => {
		const silent = net.createServer((s) => s.on('error', () => {}));
		await new Promise((ok) => silent.listen(0, '127.0.0.1', ok));
		t.after(() => silent.close());
		const br = bridge([`https://127.0.0.1:${silent.address().port}/mcp`, '--connect-timeout', '400ms', '--max-retries', '1', '--initial-retry-delay', '100', '--log-level', 'debug']);
		const answer = await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } });
		assertOwnError(answer);
		assert.ok(answer.ms >= 350 && answer.ms < 3500, `after ${answer.ms} ms`);
		br.signal('SIGKILL');
		await br.exited();
	});

	scenario('found after the hold time is told as what it is, and is no word of the server about waiting', { server: false, connect: false, url: () => 'https://127.0.0.1:1/mcp', args: [] }, async ({ bridge, t }) => {
		const silent = net.createServer((s) => s.on('error', () => {}));
		await new Promise((ok) => silent.listen(0, '127.0.0.1', ok));
		t.after(() => silent.close());
		const br = bridge([`https://127.0.0.1:${silent.address().port}/mcp`, '--connect-timeout', '300ms', '--hold-time', '100ms', '--log-level', 'debug']);
		const { message, data } = assertOwnError(await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }), 'upstream_unavailable');
		assert.match(message, /can not be reached.*timeout/i);
		assert.equal(data.attempts, 1);
		br.signal('SIGKILL');
		await br.exited();
	});

	scenario('that is tried again holds initialize no longer than the hold time', { server: false, connect: false, url: () => 'https://127.0.0.1:1/mcp', args: [] }, async ({ bridge, t }) => {
		let taken = 0;
		const silent = net.createServer((s) => { s.on('error', () => {}); if (taken++ === 0) s.resetAndDestroy(); });
		await new Promise((ok) => silent.listen(0, '127.0.0.1', ok));
		t.after(() => silent.close());
		const br = bridge([`https://127.0.0.1:${silent.address().port}/mcp`, '--connect-timeout', '30s', '--hold-time', `${500 * SLOW}ms`, '--initial-retry-delay', '50', '--log-level', 'debug']);
		assertOwnError(await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }), 'upstream_unavailable');
		assert.ok(taken <= 2, `${taken} connections`);
		br.signal('SIGKILL');
		await br.exited();
	});

	for (const mode of ['http', 'sse'])
		scenario(`a standing stream silent for --idle-timeout is opened again, ${mode}`, { server: { mode, beat: 100 }, args: ['--idle-timeout', '700ms'] }, async ({ srv, br }) => {
			const out = await srv.standing();
			if (mode === 'sse') srv.session.keep = true;
			const silent = performance.now();
			out.quiet = true;
			await until(() => srv.seen('GET').length === 2, 6000, 'the second GET');
			assert.ok(performance.now() - silent > 500, 'too early');
			await srv.standing();
			srv.notify('notifications/x');
			await br.notified('notifications/x');
			assertText(await br.call('echo', { text: 'x' }), 'x');
		});

	for (const mode of ['http', 'sse'])
		scenario(`comments are life for a standing stream, ${mode}`, { server: { mode, beat: 150 }, args: ['--idle-timeout', '700ms'] }, async ({ srv, br }) => {
			await srv.standing();
			await never(() => srv.seen('GET').length > 1, 2000, 'a needless reconnect');
			assertText(await br.call('echo', { text: 'x' }), 'x');
		});

	scenario('single bytes of a comment are life, too', { args: ['--idle-timeout', '700ms'] }, async ({ srv }) => {
		const out = await srv.standing();
		const timer = setInterval(() => out.raw(':'), 150);
		await never(() => srv.seen('GET').length > 1, 1800, 'a needless reconnect').finally(() => clearInterval(timer));
	});

	scenario('one busy stream does not hide another that is silent', { server: { respond: 'sse' }, args: ['--idle-timeout', '600ms'] }, async ({ srv, br }) => {
		await srv.standing();
		const busy = br.call('steps', { count: 40, gap: 50 }, { meta: { progressToken: 1 } });
		await until(() => srv.seen('GET').length >= 2, 1800, 'the silent stream opened again while the other is busy');
		assertText(await busy, 'all steps');
	});

	scenario('a ping on a quiet session follows --keepalive, and any answer is life, an error too', { args: ['--keepalive', '300ms'] }, async ({ srv, br }) => {
		await srv.standing();
		srv.first('ping', (e) => e.error(-32601, 'Method not found'));
		await srv.sees('ping', 2, 6000);
		assert.equal(srv.seen('initialize').length, 1);
		assert.equal(br.lines.length, 1);
		assert.equal(br.notifications.length, 0);
	});

	scenario('a server that knows no ping and answers HTTP 500 is used all the same', { args: ['--keepalive', '300ms'] }, async ({ srv, br }) => {
		const pings = srv.when('ping', (e) => e.reply(500));
		await br.request('tools/list');
		await srv.sees('initialize', 2);
		assertText(await br.call('append'), '1');
		const before = pings.hits.length;
		await until(() => pings.hits.length > before + 2);
		assertText(await br.call('append'), '2');
		assert.equal(srv.seen('initialize').length, 2);
		await srv.stop({ forget: true });
		const waiting = br.call('append');
		await br.logged(/connection refused/i);
		await srv.listen(srv.port);
		assertText(await waiting, '3');
	});

	scenario('--ping-interval is --keepalive by another name, and 0 means none', { args: ['--ping-interval', '0'] }, async ({ srv }) => {
		await srv.standing();
		await never(() => srv.seen('ping').length, 900, 'a ping');
	});

	scenario('the pings of the bridge have ids that can not be those of the client', { args: ['--keepalive', '200ms'] }, async ({ srv, br }) => {
		await srv.standing();
		const [ping] = await srv.sees('ping');
		const out = await srv.standing();
		out.event({ data: { jsonrpc: '2.0', id: ping.message.id, result: {} } });
		assert.ok(typeof ping.message.id === 'string' && ping.message.id.length > 6, ping.id);
		await br.call('echo');
	});

	scenario('a lost session is noticed by the ping before the client needs it', { args: ['--keepalive', '300ms'] }, async ({ srv, br }) => {
		await srv.standing();
		srv.sessions.clear();
		await until(() => srv.seen('initialize').length === 2, 5000, 'the session made again');
		assertText(await br.call('echo', { text: 'x' }), 'x');
	});

	// The peer's kernel answers, but its window stays shut: TCP_USER_TIMEOUT (30 s) is all that ends this before --request-timeout.
	scenario('is found by TCP itself under a request that does not get out, which is sent again', { server: { standing: false }, args: ['--probe-after', '0'] }, async ({ srv, br }) => {
		assertResult(await br.request('tools/list'));
		let stuck;
		srv.onConnection = (socket) => {
			if (stuck) return false;
			stuck = socket.pause();
			socket.on('error', () => {});
			return true;
		};
		srv.cut();
		const text = 'x'.repeat(20 << 20);
		assertText(await br.call('echo', { text }).get(45000), text);
		assert.match(br.stderr, /transfer ended: Connection timed out/);
		assert.equal(srv.ran('echo'), 1);
	});

	scenario('every socket carries TCP keepalive', { server: { respond: 'sse' } }, async ({ srv, br }) => {
		await srv.standing();
		const slow = br.call('slow', { ms: 600 });
		await srv.sees('tools/call:slow');
		const port = srv.port.toString(16).toUpperCase().padStart(4, '0');
		const timers = fs.readFileSync('/proc/net/tcp', 'utf8').split('\n').map((l) => l.trim().split(/\s+/)).filter((f) => f[2]?.endsWith(`:${port}`) && f[3] === '01').map((f) => f[5].slice(0, 2));
		assert.ok(timers.length >= 2, 'two connections');
		assert.ok(timers.every((k) => k === '02'), `timers ${timers}`);
		await slow;
	});
});

describe('a slow request', { concurrency: 4 }, () => {
	scenario('is not ended by silence before --request-timeout', { server: { respond: 'sse' }, args: ['--idle-timeout', '500ms', '--request-timeout', '8s'] }, async ({ srv, br }) => {
		assertText(await br.call('slow', { ms: 2000 }), 'at last');
		assert.equal(srv.seen('tools/call').length, 1);
	});

	scenario('without a message for --request-timeout is answered, cancelled upstream, and its late answer is dropped', { server: { respond: 'sse' }, args: ['--request-timeout', '600ms', ...PROTOCOL] }, async ({ srv, br }) => {
		const call = br.call('steps', { count: 1, gap: 1500 }, { meta: { progressToken: 1 } });
		const answer = await call;
		const { data, message } = assertOwnError(answer);
		assert.ok(['timeout', 'outcome_unknown'].includes(data.kind));
		assert.match(message, /may|whether|unknown/i);
		assert.ok(answer.ms >= 550, `after ${answer.ms} ms`);
		const [cancel] = await srv.sees('notifications/cancelled');
		assert.equal(JSON.stringify(cancel.message.params.requestId), srv.seen('tools/call')[0].id);
		await pause(1100);
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.equal(call.answers, 1);
	});

	scenario('lives by its own progress', { server: { respond: 'sse' }, args: ['--request-timeout', '600ms'] }, async ({ br }) => {
		assertText(await br.call('steps', { count: 6, gap: 300 }, { meta: { progressToken: 1 } }), 'all steps');
	});

	scenario('lives by any message on its own stream', { server: { respond: 'sse' }, args: ['--request-timeout', '600ms'] }, async ({ srv, br }) => {
		srv.onRequest = async (m, session, channel) => {
			if (m.method !== 'tools/call') return undefined;
			for (let i = 0; i < 5; i++) { await pause(300); channel.send({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: i } }); }
			return { result: { content: [{ type: 'text', text: 'talked' }] } };
		};
		assertText(await br.call('append'), 'talked');
	});

	scenario('does not live by keep-alive comments', { server: { respond: 'sse', beat: 100 }, args: ['--request-timeout', '700ms'] }, async ({ srv, br }) => {
		srv.onRequest = (m) => (m.method === 'tools/call' && m.params.name === 'append' ? pause(4000) : undefined);
		const answer = await br.call('append');
		assertFailure(answer);
		assert.ok(answer.ms >= 650 && answer.ms < 3000, `after ${answer.ms} ms`);
	});

	scenario('does not live by the progress of another', { server: { respond: 'sse' }, args: ['--request-timeout', '700ms'] }, async ({ srv, br }) => {
		srv.when('tools/call:append', (e) => { e.stream(); });
		const other = br.call('steps', { count: 8, gap: 200 }, { meta: { progressToken: 'other' } });
		const answer = await br.call('append');
		assertFailure(answer);
		assert.ok(answer.ms < 2500, `after ${answer.ms} ms`);
		await other;
	});

	scenario('ends at --max-request-time with all its attempts and waits', { args: ['--max-request-time', '1s'] }, async ({ srv, br }) => {
		await srv.standing();
		srv.when('tools/list', (e) => e.reply(502));
		const answer = await br.request('tools/list');
		const { data } = assertOwnError(answer);
		assert.ok(answer.ms < 2500, `after ${answer.ms} ms`);
		assert.equal(data.kind, 'timeout');
	});

	scenario('progress does not outlive --max-request-time', { server: { respond: 'sse' }, args: ['--max-request-time', '900ms', ...PROTOCOL] }, async ({ br }) => {
		const answer = await br.call('steps', { count: 30, gap: 100 }, { meta: { progressToken: 1 } });
		assertOwnError(answer, 'timeout');
		assert.ok(answer.ms >= 800 && answer.ms < 2500, `after ${answer.ms} ms`);
	});

	scenario('of a tool that --tool-timeout names ends by that', { args: ['--tool-timeout', 'slo*=500ms'] }, async ({ br }) => {
		const slow = await br.call('slow', { ms: 3000 });
		assertFailure(slow);
		assert.ok(slow.ms < 2500, `after ${slow.ms} ms`);
		assertText(await br.call('steps', { count: 1, gap: 900 }), 'all steps');
	});

	scenario('hung on its first byte is answered and the next one works', { args: ['--request-timeout', '500ms', '--max-retries', '1'] }, async ({ srv, br }) => {
		srv.first('tools/call', (e) => e.silence());
		assertFailure(await br.call('append'));
		assert.equal(textOf(await br.call('echo', { text: 'x' })), 'x');
	});

	scenario('whose header trickles in for ever is answered', { args: ['--request-timeout', '800ms', '--max-retries', '0'] }, async ({ srv, br }) => {
		srv.first('tools/call', (e) => {
			e.write('HTTP/1.1 200 OK\r\nX-Pad: ');
			const timer = setInterval(() => (e.open ? e.write('x') : clearInterval(timer)), 50);
			e.connection.socket.on('close', () => clearInterval(timer));
		});
		const answer = await br.call('append');
		assertFailure(answer);
		assert.ok(answer.ms < 3000, `after ${answer.ms} ms`);
	});

	const PROBED = ['--probe-after', '400ms'];
	scenario('quiet for --probe-after is resumed on a new connection where its stream has event ids', { version: '2025-11-25', server: { respond: 'sse', ids: true }, args: PROBED }, async ({ srv, br }) => {
		const call = br.call('steps', { count: 1, gap: 1800 }, { meta: { progressToken: 1 } });
		await srv.sees('ping');
		await until(() => srv.seen('GET').some((e) => /^call/.test(e.headers['last-event-id'] ?? '')), 3000, 'the resume');
		assertText(await call, 'all steps');
		assert.equal(srv.ran('steps'), 1);
	});

	scenario('quiet for --probe-after is sent once more beside the old one if it is a list, and the first answer wins', { server: { respond: 'sse' }, args: PROBED }, async ({ srv, br }) => {
		srv.first('tools/list', (e) => { e.stream(); });
		const list = br.request('tools/list');
		await srv.sees('ping');
		assertResult(await list);
		assert.equal(srv.seen('tools/list').length, 2);
	});

	scenario('quiet for --probe-after is waited for if it is a call with effects', { server: { respond: 'sse' }, args: PROBED }, async ({ srv, br }) => {
		const call = br.call('steps', { count: 1, gap: 1800 });
		await srv.sees('ping');
		assertText(await call, 'all steps');
		assert.equal(srv.ran('steps'), 1);
		assert.equal(srv.seen('tools/call').length, 1);
	});

	scenario('--probe-after 0 probes nothing', { server: { respond: 'sse' }, args: ['--probe-after', '0'] }, async ({ srv, br }) => {
		assertText(await br.call('slow', { ms: 800 }), 'at last');
		assert.equal(srv.seen('ping').length, 0);
	});
});

describe('an idle bridge', { concurrency: 1 }, () => {
	scenario('does not wake up without a reason', {}, async ({ srv, br }) => {
		await srv.standing();
		await br.call('echo');
		await pause(300);
		const wakes = () => br.status('voluntary_ctxt_switches') + br.status('nonvoluntary_ctxt_switches');
		const before = wakes();
		await pause(2000);
		assert.ok(wakes() - before <= 12, `${wakes() - before} wake-ups in 2 s`);
	});
});

describe('a client that does not read', { concurrency: 3 }, () => {
	const size = 100000;
	for (const mode of ['http', 'sse'])
		scenario(`is no silence of the server, ${mode}`, { server: { mode }, args: [...PROTOCOL, '--request-timeout', `${800 * SLOW}ms`] }, async ({ srv, br }) => {
			const held = [];
			srv.when('tools/call', (e) => { held.push(e); if (mode === 'sse') e.reply(202); });
			const calls = Array.from({ length: 40 }, () => br.call('echo'));
			await until(() => held.length === calls.length, 4000, 'all calls at the server');
			br.child.stdout.pause();
			const since = performance.now();
			for (const e of held) {
				const answer = e.envelope({ result: { content: [{ type: 'text', text: 'x'.repeat(size) }] } });
				if (mode === 'sse') srv.send(answer); else e.json(answer);
			}
			await until(() => performance.now() - since > 1100 * SLOW, 4000, 'every call late');
			br.child.stdout.resume();
			for (const c of calls) assert.equal(textOf(await c.get())?.length, size);
			assert.doesNotMatch(br.stderr, /ready > wait/);
		});
});

describe('a process that was stopped', { concurrency: 2 }, () => {
	const size = 50000;
	for (const mode of ['http', 'sse'])
		scenario(`passes on what came meanwhile before it says that anything was late, ${mode}`, { server: { mode }, args: [...PROTOCOL, '--request-timeout', `${900 * SLOW}ms`] }, async ({ srv, br }) => {
			const held = [];
			srv.when('tools/call', (e) => { held.push(e); if (mode === 'sse') e.reply(202); });
			const calls = Array.from({ length: 20 }, () => br.call('echo'));
			await until(() => held.length === calls.length, 4000, 'all calls at the server');
			const stopped = performance.now();
			br.signal('SIGSTOP');
			for (const e of held) {
				const answer = e.envelope({ result: { content: [{ type: 'text', text: 'x'.repeat(size) }] } });
				if (mode === 'sse') srv.send(answer); else e.json(answer);
			}
			await until(() => performance.now() - stopped > 1450 * SLOW, 4000, 'every call late by half a second');
			br.signal('SIGCONT');
			for (const c of calls) assert.equal(textOf(await c.get())?.length, size);
			delete br.signalAt;
		});
});
