// Outages: backoff, hold, breaker, Retry-After, rates, budgets of attempts.
import { assert, assertFailure, assertOwnError, assertResult, assertText, BINARY, describe, goAway, median, never, pause, QUICK, scenario, textOf, until } from '../lib/scenario.mjs';

const HELLO = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } };
const SLOWLY = ['--log-level', 'debug'];
/** Every connection is reset as soon as it stands; gives the times of the attempts. */
function refuse(srv) {
	const at = [];
	srv.onConnection = (socket) => { at.push(performance.now()); socket.resetAndDestroy(); return true; };
	srv.cut();
	return at;
}
const gaps = (at) => at.slice(1).map((x, i) => x - at[i]);

describe('backoff', { concurrency: 4 }, () => {
	scenario('doubles from the initial delay to the maximum without jitter', { defaults: SLOWLY, args: ['--initial-retry-delay', '150', '--max-retry-delay', '700', '--jitter', 'none'] }, async ({ srv, br }) => {
		await srv.standing();
		const at = refuse(srv);
		const call = br.request('tools/list');
		await until(() => at.length >= 11, 15000, 'eleven attempts');
		srv.onConnection = undefined;
		assertResult(await call);
		// The stream and the session may both have tried at first; from there on one rhythm.
		const g = gaps(at).slice(-4);
		assert.ok(g.every((ms) => ms <= 700 + 250), `gaps ${gaps(at).map(Math.round)}`);
		assert.ok(g.at(-1) >= 600, `gaps ${gaps(at).map(Math.round)}`);
	});

	scenario('--backoff-multiplier 1 keeps the pace', { defaults: SLOWLY, args: ['--initial-retry-delay', '200', '--max-retry-delay', '5s', '--backoff-multiplier', '1', '--jitter', 'none'] }, async ({ srv, br }) => {
		await srv.standing();
		const at = refuse(srv);
		const call = br.request('tools/list');
		await until(() => at.length >= 7, 12000, 'seven attempts');
		srv.onConnection = undefined;
		await call;
		assert.ok(Math.max(...gaps(at).slice(2)) < 500, `gaps ${gaps(at).map(Math.round)}`);
	});

	scenario('full jitter spreads the attempts below the step', { defaults: SLOWLY, args: ['--initial-retry-delay', '400', '--max-retry-delay', '400'] }, async ({ srv, br }) => {
		await srv.standing();
		const at = refuse(srv);
		const call = br.request('tools/list');
		await until(() => at.length >= 14, 20000, 'fourteen attempts');
		srv.onConnection = undefined;
		await call;
		const g = gaps(at).slice(2);
		assert.ok(Math.max(...g) < 400 + 250, `gaps ${g.map(Math.round)}`);
		assert.ok(Math.max(...g) - Math.min(...g) > 60, `no spread: ${g.map(Math.round)}`);
	});

	scenario('falls to its first step after an answered request', { defaults: SLOWLY, args: ['--initial-retry-delay', '100', '--max-retry-delay', '20s', '--jitter', 'none'] }, async ({ srv, br }) => {
		await srv.standing();
		for (let round = 0; round < 3; round++) {
			const at = refuse(srv);
			const call = br.request('tools/list');
			await until(() => at.length >= 3, 5000, 'three attempts');
			srv.onConnection = undefined;
			const t = performance.now();
			assertResult(await call);
			assert.ok(performance.now() - t < 2500, `round ${round}: ${performance.now() - t} ms`);
		}
	});

	scenario('accept-then-close earns nothing: the delay goes on growing', { server: { mode: 'sse' }, defaults: SLOWLY, args: ['--initial-retry-delay', '100', '--max-retry-delay', '2s', '--jitter', 'none'] }, async ({ srv }) => {
		const out = await srv.standing();
		const at = [];
		srv.when('GET', (e) => { at.push(performance.now()); e.stream().end(); });
		out.reset();
		await until(() => at.length >= 5, 12000, 'five streams');
		const g = gaps(at);
		assert.ok(g.at(-1) > 500, `gaps ${g.map(Math.round)}`);
	});

	scenario('a reconnect makes no second client-visible handshake and two log lines at info', { defaults: ['--initial-retry-delay', '100', '--log-level', 'info'], server: { mode: 'sse' } }, async ({ srv, br }) => {
		await br.call('echo');
		const before = br.stderr.length;
		(await srv.standing()).reset();
		await until(() => srv.seen('notifications/initialized').length === 2, 5000, 'the second handshake');
		await br.call('echo');
		const lines = br.stderr.slice(before).trim().split('\n').filter(Boolean);
		assert.ok(lines.length >= 2 && lines.length <= 3, br.stderr);
		assert.match(lines[0], /lost|reset|ended/i);
		assert.match(lines.at(-1), /back|again|restored|connected/i);
		assert.match(lines.at(-1), /\d/);
	});

	scenario('no re-initialisation while the session lives: a lost connection alone is no lost session', {}, async ({ srv, br }) => {
		await srv.standing();
		srv.cut();
		assertResult(await br.request('tools/list'));
		await srv.standing();
		assert.equal(srv.seen('initialize').length, 1);
	});
});

describe('held requests', { concurrency: 4 }, () => {
	scenario('wait in arrival order and are answered when the line is back', {}, async ({ srv, br }) => {
		await goAway(srv, br);
		const calls = Array.from({ length: 12 }, (_, i) => br.call('append', { i }));
		await srv.listen(srv.port);
		for (const c of calls) assertResult(await c);
		// What runs side by side on several connections may arrive a little out of order.
		for (const [k, e] of srv.seen('tools/call').entries()) assert.ok(Math.abs(e.message.params.arguments.i - k) <= 8, `call ${e.message.params.arguments.i} came as number ${k}`);
		assert.equal(srv.seen('tools/call')[0].message.params.arguments.i, 0);
		assert.equal(srv.ran('append'), 12);
	});

	scenario('are sent gently after an outage: one, then more, as the line proves itself', {}, async ({ srv, br }) => {
		await goAway(srv, br);
		const calls = Array.from({ length: 16 }, (_, i) => br.call('slow', { ms: 60, i }));
		let running = 0;
		const seen = [];
		srv.onRequest = async (m) => {
			if (m.method !== 'tools/call') return undefined;
			seen.push(++running);
			await pause(60);
			running--;
			return undefined;
		};
		await srv.listen(srv.port);
		for (const c of calls) assertResult(await c);
		assert.ok(Math.max(...seen.slice(0, 2)) <= 2, `at once: ${seen}`);
	});

	scenario('do not wait after an outage for calls that take long', { args: ['--request-timeout', '40s'] }, async ({ srv, br }) => {
		await goAway(srv, br);
		srv.when('tools/call:slow', (e) => { e.silence(); });
		const long = Array.from({ length: 5 }, () => br.call('slow'));
		await srv.listen(srv.port);
		await srv.sees('tools/call:slow');
		const short = br.call('echo', { text: 'short' });
		assertText(await short.get(15000), 'short');
		await srv.sees('tools/call:slow', long.length);
		srv.clear();
		for (const e of srv.seen('tools/call:slow')) e.result({ content: [] });
		for (const c of long) assertResult(await c);
	});

	scenario('longer than --hold-time are answered with an error, and the next use works', { args: ['--hold-time', '700ms', '--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		await srv.standing();
		await srv.stop();
		const answer = await br.call('append');
		assertOwnError(answer);
		assert.ok(answer.ms >= 600 && answer.ms < 2500, `after ${answer.ms} ms`);
		await srv.listen(srv.port);
		await until(async () => (await br.call('echo', { text: 'works' })).result, 8000, 'a call that works');
		assert.equal(srv.ran('append'), 0);
	});

	scenario('past --max-queue are refused with queue_full', { args: ['--max-queue', '8', '--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		await goAway(srv, br);
		const calls = Array.from({ length: 20 }, (_, i) => br.call('append', { i }));
		const full = await until(() => { const f = calls.filter((c) => c.answer?.error?.data?.kind === 'queue_full'); return f.length >= 12 && f; }, 5000, 'refusals');
		for (const f of full) assertOwnError(f.answer, 'queue_full');
		await srv.listen(srv.port);
		const rest = calls.filter((c) => !full.includes(c));
		for (const c of rest) assertResult(await c);
		assert.ok(rest.length >= 6 && rest.length <= 8, `${rest.length} held`);
	});

	scenario('are not refused while the bridge merely connects: a full queue stops stdin instead', { connect: false, args: ['--max-queue', '8'] }, async ({ srv, br }) => {
		srv.when('initialize', (e) => { setTimeout(() => srv.serve(e), 500); });
		const init = br.request('initialize', HELLO);
		br.notify('notifications/initialized');
		const calls = Array.from({ length: 60 }, (_, i) => br.call('echo', { text: String(i) }));
		assertResult(await init);
		for (const [i, c] of calls.entries()) assertText(await c, String(i));
	});

	scenario('that are cancelled while they wait never reach the server', {}, async ({ srv, br }) => {
		await goAway(srv, br);
		const unwanted = br.call('append', { unwanted: true }), wanted = br.call('append', { wanted: true });
		br.cancel(unwanted);
		await srv.listen(srv.port);
		assertResult(await wanted);
		await br.call('echo');
		assert.equal(srv.ran('append'), 1);
		assert.equal(srv.seen('notifications/cancelled').length, 0);
	});

	scenario('keep the order between notifications and requests', {}, async ({ srv, br }) => {
		await goAway(srv, br);
		const calls = [];
		for (let i = 0; i < 5; i++) { br.notify('notifications/roots/list_changed', { i }); calls.push(br.call('append', { i })); }
		await srv.listen(srv.port);
		for (const c of calls) assertResult(await c);
		const order = srv.exchanges.filter((e) => e.kind === 'tools/call' || /roots/.test(e.kind)).map((e) => (e.kind === 'tools/call' ? `call${e.message.params.arguments.i}` : `note${e.message.params.i}`));
		for (let i = 0; i < 5; i++) assert.ok(order.indexOf(`note${i}`) >= 0 && order.indexOf(`note${i}`) < order.indexOf(`call${i}`), order.join(' '));
	});
});

describe('a server that is away at the start', { concurrency: 4 }, () => {
	scenario('is waited for: initialize is held and answered when it comes', { connect: false, before: ({ srv }) => srv.stop() }, async ({ srv, br }) => {
		const init = br.request('initialize', HELLO);
		await br.logged(/refused|retry/i);
		await never(() => init.answers, 300, 'an answer before the server is there');
		await srv.listen(srv.port);
		assertResult(await init);
		br.notify('notifications/initialized');
		assertText(await br.call('echo', { text: 'x' }), 'x');
	});

	scenario('for good gets initialize an error that says what to check, and the process lives', { connect: false, before: ({ srv }) => srv.stop(), args: ['--max-retries', '2', '--max-retry-delay', '200'] }, async ({ srv, br }) => {
		const answer = await br.request('initialize', HELLO);
		const { message } = assertOwnError(answer, 'upstream_unavailable');
		assert.match(message, /check|url|network|running|reach/i);
		assert.ok(br.alive);
		await srv.listen(srv.port);
		await until(async () => (await br.request('initialize', HELLO)).result, 8000, 'initialize answered');
	});

	scenario('by a name that can not be resolved gets an error, too', { connect: false, server: false, url: () => `http://${'a'.repeat(64)}.invalid:9/mcp`, args: ['--allow-http', '--max-retries', '2'] }, async ({ br }) => {
		assertOwnError(await br.request('initialize', HELLO), 'upstream_unavailable');
		assert.ok(br.alive);
	});

	scenario('by hold time gets initialize an error when there are retries without end', { connect: false, before: ({ srv }) => srv.stop(), args: ['--hold-time', '600ms'] }, async ({ br }) => {
		const answer = await br.request('initialize', HELLO);
		assertOwnError(answer);
		assert.ok(answer.ms >= 500 && answer.ms < 2500, `after ${answer.ms} ms`);
	});
});

describe('an initialize that is refused', { concurrency: 4 }, () => {
	scenario('by a JSON-RPC error reaches the client as it is, and the next one works', { connect: false }, async ({ srv, br }) => {
		srv.first('initialize', (e) => e.error(-32602, 'Unsupported protocol version'));
		assert.deepEqual((await br.request('initialize', HELLO)).error, { code: -32602, message: 'Unsupported protocol version' });
		assertResult(await br.request('initialize', HELLO));
	});

	for (const status of [401, 403])
		scenario(`by ${status} is answered at once, and the process lives`, { connect: false }, async ({ srv, br }) => {
			srv.when(() => true, (e) => e.reply(e.path === '/mcp' ? status : 404));
			const answer = await br.request('initialize', HELLO);
			assert.match(answer.error.message, status === 401 ? /401|sign|auth/i : /403|auth|allow|forbid/i);
			assert.ok(answer.ms < 2000 * 3, `after ${answer.ms} ms`);
			assert.ok(srv.seen('initialize').length <= 2);
			assert.ok(br.alive);
		});
});

describe('retries that are used up', { concurrency: 4 }, () => {
	scenario('--max-retries 0 answers at once', { args: ['--max-retries', '0'] }, async ({ srv, br }) => {
		await srv.standing();
		await srv.stop();
		const answer = await br.request('tools/list');
		assertOwnError(answer);
		assert.ok(answer.ms < 1000 * 3, `after ${answer.ms} ms`);
	});

	scenario('answer everything held, stop the background attempts, and start afresh after --max-retry-delay', { args: ['--max-retries', '2', '--max-retry-delay', '500'] }, async ({ srv, br }) => {
		await srv.standing();
		const at = refuse(srv);
		const calls = Array.from({ length: 4 }, () => br.request('tools/list'));
		for (const c of calls) assertFailure(await c);
		const tried = at.length;
		await never(() => at.length > tried + 1, 900, 'attempts in the background');
		const next = br.request('tools/list');
		await until(() => at.length > tried + 1, 4000, 'a fresh round');
		srv.onConnection = undefined;
		const answer = await next;
		if (answer.error) await until(async () => (await br.request('tools/list')).result, 5000, 'a list that works');
	});
});

describe('the circuit breaker', { concurrency: 4 }, () => {
	const open = async (srv, br) => {
		await srv.standing();
		const at = refuse(srv);
		await until(async () => (await br.call('append')).error?.data?.kind === 'circuit_open', 15000, 'circuit_open');
		return at;
	};
	const BREAKER = { args: ['--hold-time', '600ms', '--breaker-threshold', '3', '--tool-errors', 'protocol'] };

	scenario('opens when the outage outlives the hold time and then fails fast and clearly', BREAKER, async ({ srv, br }) => {
		await open(srv, br);
		const answer = await br.call('append');
		const { data, message } = assertOwnError(answer, 'circuit_open');
		assert.ok(answer.ms < 50, `after ${answer.ms} ms`);
		assert.equal(typeof data.retryAfterMs, 'number');
		assert.ok(data.retryAfterMs >= 0 && data.retryAfterMs <= 60000);
		assert.match(message, /not/i);
		srv.onConnection = undefined;
		await until(async () => (await br.call('echo')).result, 6000, 'a call that works');
		assert.equal(srv.ran('append'), 0);
	});

	scenario('lets one probe at a time through', BREAKER, async ({ srv, br }) => {
		const at = await open(srv, br);
		const from = at.length;
		for (let i = 0; i < 30; i++) { await br.call('append'); await pause(10); }
		assert.ok(at.length - from <= 6, `${at.length - from} attempts for 30 calls`);
		srv.onConnection = undefined;
	});

	scenario('stays shut over a short outage: everything is held and invisible', { args: ['--breaker-threshold', '2'] }, async ({ srv, br }) => {
		await srv.standing();
		const at = refuse(srv);
		const calls = Array.from({ length: 6 }, () => br.request('tools/list'));
		await until(() => at.length >= 5, 8000, 'five attempts');
		srv.onConnection = undefined;
		for (const c of calls) assertResult(await c);
	});

	scenario('does not count JSON-RPC errors, other 4xx and a failing standing stream', { args: ['--breaker-threshold', '2', '--hold-time', '300ms', '--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		srv.when('GET', (e) => e.reply(503));
		const old = await srv.standing(500).catch(() => undefined);
		old?.reset();
		srv.when('prompts/get', (e) => e.error(-32603, 'no'));
		srv.when('resources/read', (e) => e.reply(422));
		const from = performance.now();
		while (performance.now() - from < 800) { await br.request('prompts/get', { name: 'x' }); await br.request('resources/read', { uri: 'mem://x' }); }
		assertText(await br.call('echo', { text: 'served' }), 'served');
	});

	scenario('--breaker-cooldown sets the pace of the probes', { args: [...BREAKER.args, '--breaker-cooldown', '1500ms'] }, async ({ srv, br }) => {
		const at = await open(srv, br);
		const from = at.length;
		await until(() => at.length >= from + 2, 9000, 'two probes');
		const g = gaps(at.slice(from));
		assert.ok(Math.min(...g.filter((ms) => ms > 50)) >= 1300, `gaps ${g.map(Math.round)}`);
		srv.onConnection = undefined;
	});

	scenario('--breaker-threshold 0 turns it off', { args: ['--hold-time', '300ms', '--breaker-threshold', '0', '--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		await srv.standing();
		refuse(srv);
		for (let i = 0; i < 6; i++) { const { data } = assertOwnError(await br.call('append')); assert.notEqual(data.kind, 'circuit_open'); }
		srv.onConnection = undefined;
	});
});

describe('Retry-After', { concurrency: 4 }, () => {
	const date = (ms) => new Date(Math.ceil((Date.now() + ms) / 1000) * 1000).toUTCString();
	for (const [status, value] of [[429, () => '1'], [503, () => '1'], [429, () => date(1000)]])
		scenario(`of ${status} as ${/\d$/.test(value()) ? 'seconds' : 'a date'} is a floor with a little jitter above`, {}, async ({ srv, br }) => {
			const times = [];
			const rule = srv.when('tools/list', (e) => { times.push(performance.now()); if (rule.hits.length > 1) return srv.serve(e); e.reply(status, { 'Retry-After': value() }); });
			assertResult(await br.request('tools/list'));
			const ms = times[1] - times[0];
			assert.ok(ms >= 950 && ms < 3500, `after ${ms} ms`);
		});

	scenario('of a GET is heeded by the standing stream', {}, async ({ srv }) => {
		const old = await srv.standing();
		const times = [];
		const rule = srv.when('GET', (e) => { times.push(performance.now()); if (rule.hits.length > 1) return srv.serve(e); e.reply(503, { 'Retry-After': '1' }); });
		old.reset();
		await until(() => times.length === 2, 6000, 'the second GET');
		assert.ok(times[1] - times[0] >= 950, `after ${times[1] - times[0]} ms`);
	});

	scenario('of the SSE handshake is heeded', { server: { mode: 'sse' } }, async ({ srv, br }) => {
		const old = await srv.standing();
		const times = [];
		const rule = srv.when('GET', (e) => { times.push(performance.now()); if (rule.hits.length > 1) return srv.serve(e); e.reply(503, { 'Retry-After': '1' }); });
		old.reset();
		assertText(await br.call('echo', { text: 'x' }), 'x');
		assert.ok(times[1] - times[0] >= 950, `after ${times[1] - times[0]} ms`);
	});

	for (const value of ['-1', '1e99', 'soon', '', '999999999999999999999', 'Mon, 99 Foo 2099 99:99:99 GMT'])
		scenario(`of ${JSON.stringify(value)} is ignored`, {}, async ({ srv, br }) => {
			srv.first('tools/list', (e) => e.reply(429, { 'Retry-After': value }));
			const answer = await br.request('tools/list');
			if (/^9+$/.test(value)) assert.equal(assertOwnError(answer, 'rate_limited').data.retryAfterMs <= 3600000 * 1.2, true);
			else assertResult(answer);
		});

	scenario('longer than the hold time left is answered at once with the time to come back', { args: ['--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.reply(429, { 'Retry-After': '120' }));
		const answer = await br.call('append');
		const { data } = assertOwnError(answer, 'rate_limited');
		assert.ok(answer.ms < 1500 * 3, `after ${answer.ms} ms`);
		assert.ok(data.retryAfterMs > 100000 && data.retryAfterMs <= 140000, `${data.retryAfterMs}`);
	});
});

describe('bounds on what is asked of the server', { concurrency: 4 }, () => {
	scenario('--max-in-flight bounds the exchanges of requests, and answers, cancellations and pings never wait', { args: ['--max-in-flight', '3'] }, async ({ srv, br }) => {
		await srv.standing();
		let running = 0, most = 0;
		srv.onRequest = async (m) => {
			if (m.method !== 'tools/call' || m.params.name !== 'slow') return undefined;
			most = Math.max(most, ++running);
			await pause(500);
			running--;
			return undefined;
		};
		const calls = Array.from({ length: 9 }, () => br.call('slow', { ms: 0 }));
		await srv.sees('tools/call:slow', 3);
		const t = performance.now();
		assert.ok((await srv.ask('roots/list')).result);
		assertResult(await br.request('ping'));
		br.cancel(calls[0]);
		await srv.sees('notifications/cancelled');
		assert.ok(performance.now() - t < 400 * 3, 'answer, ping and cancellation waited');
		for (const c of calls.slice(1)) assertResult(await c);
		assert.equal(most, 3);
	});

	for (const [limit, least, most] of [['-S -n 60', 70, 70], ['-n 60', 20, 45]])
		scenario(`a limit of open files (ulimit ${limit}) is no outage`, { server: { standing: false }, connect: false }, async ({ srv, bridge }) => {
			const held = [];
			srv.when('tools/call', (e) => held.push(e), 70);
			const br = bridge(['-c', `ulimit ${limit}; exec "$@"`, 'bash', BINARY, srv.url, ...QUICK], { command: 'bash' });
			await br.connect();
			const calls = Array.from({ length: 70 }, () => br.call('append'));
			await until(() => held.length >= least, 4000, 'calls at the server');
			await never(() => /ready > wait/.test(br.stderr) || held.length > most, 50, 'a loss of the line, or too many calls');
			srv.clear();
			for (const e of held) e.result({ content: [] });
			for (const c of calls) assertResult(await c);
		});

	scenario('--rate-limit spreads requests', { args: ['--rate-limit', '10/s'] }, async ({ srv, br }) => {
		const t = performance.now();
		const calls = Array.from({ length: 30 }, () => br.call('echo'));
		for (const c of calls) assertResult(await c.get(20000));
		const ms = performance.now() - t;
		assert.ok(ms > 1500, `30 calls at 10/s took ${ms} ms`);
	});

	scenario('a wait by the rate limit that is longer than the hold time is refused at once', { args: ['--rate-limit', '2/m', '--hold-time', '2s', '--tool-errors', 'protocol'] }, async ({ br }) => {
		const answers = [];
		for (let i = 0; i < 12; i++) answers.push(await br.call('echo'));
		const refused = answers.filter((a) => a.error);
		assert.ok(refused.length > 0);
		for (const r of refused) assert.ok(assertOwnError(r, 'rate_limited').data.retryAfterMs > 1000);
	});

	scenario('--session-quota bounds the requests of a runaway agent', { args: ['--session-quota', '5', '--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		const answers = [];
		for (let i = 0; i < 12; i++) answers.push(await br.call('echo', { text: 'x' }));
		const good = answers.filter((a) => a.result).length;
		assert.ok(good >= 3 && good <= 5, `${good} answered with a quota of 5`);
		assertOwnError(answers.at(-1));
		assert.ok(srv.ran('echo') <= 5);
	});

	scenario('--session-quota bounds the time upstream', { args: ['--session-quota', '1s', '--tool-errors', 'protocol'] }, async ({ srv, br }) => {
		let refused;
		for (let i = 0; i < 8 && !refused; i++) { const a = await br.call('slow', { ms: 300 }); if (a.error) refused = a; }
		assertOwnError(refused);
		assert.ok(srv.ran('slow') >= 3 && srv.ran('slow') <= 4, `${srv.ran('slow')} calls`);
	});

	scenario('a storm of 500 does not become a storm of requests', { args: ['--max-retries', '5'] }, async ({ srv, br }) => {
		srv.when(() => true, (e) => e.reply(500));
		assertFailure(await br.request('tools/list').get(15000));
		const n = srv.exchanges.length;
		await pause(2000);
		assert.ok(srv.exchanges.length - n <= 12, `${srv.exchanges.length - n} requests in 2 s`);
	});

	scenario('recovery after a cut is quick: the median of six is under 2 s with the delays a user has', { defaults: [], server: { mode: 'sse' } }, async ({ srv, br }) => {
		await br.request('tools/list');
		const times = [];
		for (let i = 0; i < 6; i++) {
			(await srv.standing()).reset();
			const t = performance.now();
			assert.equal(textOf(await br.call('echo', { text: 'x' })), 'x');
			times.push(performance.now() - t);
		}
		assert.ok(median(times) < 2000 && Math.max(...times) < 5000, times.map(Math.round).join(' '));
	});
});
