// What a person can find out about running bridges: status, log, SIGUSR1, the
// metrics file, --notify. Each bridge here has a runtime directory of its own.
import fs from 'node:fs';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { scenario, describe, it, assert, run, until, never, within, goAway, assertText, scratchDirectory, Server, Bridge, QUICK, BINARY } from '../lib/scenario.mjs';

const runtime = ({ scratch }) => ({ XDG_RUNTIME_DIR: scratch });
const rundir = (scratch) => path.join(scratch, 'mcp-holdfast');
const command = (scratch, ...argv) => run(argv, { env: { XDG_RUNTIME_DIR: scratch } });
const status = async (scratch) => JSON.parse((await command(scratch, 'status', '--json')).stdout);
/** The one bridge of this runtime directory, once it satisfies the condition. */
const shown = (scratch, condition = () => true) => until(async () => { const [s] = await status(scratch); return s && condition(s) && s; }, 6000, 'a status');

describe('mcp-holdfast status', () => {
	scenario('shows a running bridge and what it has done', { env: runtime, args: ['--name', 'alpha'] }, async ({ srv, br, scratch }) => {
		for (let i = 0; i < 5; i++) await br.call('echo', { text: 'x' });
		await br.call('nowhere');
		const s = await shown(scratch, (x) => x.answers >= 7);
		assert.equal(s.name, 'alpha');
		assert.equal(s.pid, br.pid);
		assert.equal(s.origin, srv.origin);
		assert.equal(s.transport, 'streamable-http');
		assert.equal(s.protocol, '2025-06-18');
		assert.equal(s.state, 'ready');
		assert.equal(s.down, false);
		assert.equal(s.lastDrop, null);
		assert.equal(s.errors, 1);
		assert.ok(s.p50Ms >= 0 && s.p99Ms >= s.p50Ms && s.memoryKiB > 1000);
		const table = await command(scratch, 'status');
		assert.equal(table.code, 0);
		assert.match(table.stdout, /^alpha +\d+ ready /m);
		for (const line of table.stdout.split('\n')) assert.ok(line.length <= 80, `wider than 80 columns: ${line}`);
		assert.doesNotMatch(table.stdout, /\x1b/);
	});

	scenario('says what is down, why, and what comes next, with status 1', { env: runtime, args: ['--name', 'alpha', '--max-retry-delay', '400'] }, async ({ srv, br, scratch }) => {
		const { waiting } = await goAway(srv, br);
		const s = await shown(scratch, (x) => x.down);
		assert.match(s.lastDrop.why, /\(curl \d+\)|HTTP \d+/);
		assert.equal(s.lastDrop.lengthMs, null);
		const table = await command(scratch, 'status');
		assert.equal(table.code, 1);
		assert.match(table.stdout, /lost .* ago: /);
		await srv.restart();
		await waiting;
		const back = await shown(scratch, (x) => !x.down);
		assert.equal(back.reconnects, 1);
		assert.ok(back.lastDrop.lengthMs >= 0);
	});

	scenario('says that initialize was refused, with status 1', { connect: false }, async ({ srv, bridge, scratch }) => {
		await srv.stop();
		const br = bridge([srv.url, '--name', 'alpha', '--hold-time', '200'], { env: { XDG_RUNTIME_DIR: scratch } });
		assert.equal((await shown(scratch)).down, false);
		await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'driver', version: '1' } });
		const s = await shown(scratch, (x) => x.refused === 1);
		assert.equal(s.down, true);
		const table = await command(scratch, 'status');
		assert.equal(table.code, 1);
		assert.match(table.stdout, new RegExp(`initialize was refused: see 'mcp-holdfast log ${br.pid}'`));
		for (const line of table.stdout.split('\n')) assert.ok(line.length <= 80, `wider than 80 columns: ${line}`);
		await srv.restart();
		await br.connect();
		assert.equal((await shown(scratch, (x) => x.state === 'ready')).down, false);
	});

	scenario('shows a call that is running', { env: runtime }, async ({ br, scratch }) => {
		const call = br.call('slow', { ms: 2500 });
		await shown(scratch, (x) => x.inFlight === 1);
		await call;
	});

	scenario('fits 80 columns with a long queue', { env: runtime }, async ({ br, scratch }) => {
		for (let i = 0; i < 120; i++) br.call('slow', { ms: 8000 });
		await shown(scratch, (x) => x.inFlight === 100 && x.held === 20);
		const table = await command(scratch, 'status');
		assert.match(table.stdout, / 100\/20 /);
		for (const line of table.stdout.split('\n')) assert.ok(line.length <= 80, `wider than 80 columns: ${line}`);
	});

	scenario('fits 80 columns at its worst', { env: runtime }, async ({ br, scratch }) => {
		await shown(scratch);
		const file = path.join(rundir(scratch), '4194303.status');
		const facts = { ...JSON.parse(fs.readFileSync(path.join(rundir(scratch), `${br.pid}.status`), 'utf8')), pid: 4194303, state: 'auth', name: 'n'.repeat(63), origin: `https://${'o'.repeat(100)}`,
			state_at: 0, in_flight: 100, held: 1024, p50_ms: 3599000, p95_ms: 3599000, p99_ms: 3599000, answers: 10, refused: 10, drop_at: 0, drop_ms: 8640000000, why: 'w'.repeat(150),
			reconnects: 123456, breaker: 'half_open', next_at: 2 ** 50, auth_breaker: 'half_open', auth_origin: `https://${'a'.repeat(100)}`, auth_next_at: 0 };
		/* Its lock says that the writer lives. */
		const holder = spawn('flock', ['-x', file, 'sh', '-c', 'echo locked; exec sleep 30'], { detached: true });
		try {
			await new Promise((locked) => holder.stdout.once('data', locked));
			fs.writeFileSync(file, JSON.stringify(facts));
			const table = await until(async () => { const t = await command(scratch, 'status'); return t.stdout.includes('nnnn') && t; }, 6000, 'its row');
			assert.match(table.stdout, /a sign-in is wanted/);
			for (const line of table.stdout.split('\n')) assert.ok(line.length <= 80, `wider than 80 columns: ${line}`);
		} finally { process.kill(-holder.pid); }
	});

	scenario('leaves no file behind, but the log', { env: runtime }, async ({ br, scratch }) => {
		await shown(scratch);
		for (const f of fs.readdirSync(rundir(scratch))) assert.equal(fs.statSync(path.join(rundir(scratch), f)).mode & 0o777, 0o600);
		assert.equal(fs.statSync(rundir(scratch)).mode & 0o777, 0o700);
		br.eof();
		await br.exited();
		assert.deepEqual(fs.readdirSync(rundir(scratch)), [`${br.pid}.log`]);
	});

	scenario('sweeps what a killed bridge has left', { env: runtime }, async ({ br, scratch }) => {
		await shown(scratch);
		br.signal('SIGKILL');
		await br.exited();
		assert.ok(fs.existsSync(path.join(rundir(scratch), `${br.pid}.status`)));
		assert.deepEqual(await status(scratch), []);
		assert.ok(!fs.existsSync(path.join(rundir(scratch), `${br.pid}.status`)));
	});

	it('says so when nothing runs, and where it looked', async () => {
		const scratch = scratchDirectory();
		const r = await command(scratch, 'status');
		assert.equal(r.code, 0);
		assert.ok(r.stdout.includes(rundir(scratch)), r.stdout);
		assert.equal((await command(scratch, 'status', '--json')).stdout, '[]\n');
	});

	it('refuses a runtime directory that others may enter, and says what to do', async () => {
		const scratch = scratchDirectory();
		fs.mkdirSync(rundir(scratch), { mode: 0o755 });
		fs.chmodSync(rundir(scratch), 0o755);
		const r = await command(scratch, 'status');
		assert.equal(r.code, 1);
		assert.match(r.stderr, /chmod 700/);
	});

	scenario('hostile files beside it do no harm', { env: runtime }, async ({ br, scratch }) => {
		await shown(scratch);
		const at = (name) => path.join(rundir(scratch), name);
		fs.writeFileSync(at('7.status'), 'x'.repeat(100000));
		fs.symlinkSync('/etc/passwd', at('8.status'));
		fs.writeFileSync(at('9.log'), Buffer.alloc(50, 255));
		fs.symlinkSync('/dev/zero', at('10.log'));
		fs.writeFileSync(at('nonsense.status'), '');
		assert.equal((await status(scratch)).length, 1);
		assert.equal((await command(scratch, 'log', String(br.pid))).code, 0);
	});

	scenario('a disk that takes nothing leaves the relay alone', { env: runtime, args: ({ scratch }) => ['--metrics-file', path.join(scratch, 'm.prom')], connect: false }, async ({ srv, bridge, scratch }) => {
		// A file size limit of 0: every write to a file fails, as on a full disk.
		const br = bridge(['-c', 'ulimit -f 0; exec "$0" "$@"', BINARY, srv.url, ...QUICK, '--metrics-file', path.join(scratch, 'm.prom')], { command: '/bin/sh', env: { XDG_RUNTIME_DIR: scratch } });
		await br.connect();
		for (let i = 0; i < 3; i++) assertText(await br.call('echo', { text: 'x' }), 'x');
		await br.logged(/can not write the metrics file/);
		assertText(await br.call('echo', { text: 'y' }), 'y');
	});

	scenario('reads on while bridges come and go', { env: runtime, args: ['--name', 'stays'] }, async ({ srv, br, scratch, bridge }) => {
		await shown(scratch);
		const coming = (async () => {
			for (let i = 0; i < 12; i++) {
				const b = bridge([srv.url, ...QUICK, '--name', `goes-${i}`], { env: { XDG_RUNTIME_DIR: scratch } });
				await b.connect();
				if (i % 2) b.signal('SIGKILL'); else b.eof();
				await b.exited();
			}
			return true;
		})();
		let done = false;
		coming.then(() => { done = true; }, () => { done = true; });
		while (!done) {
			const r = await command(scratch, 'status', '--json');
			assert.equal(r.stderr, '');
			assert.ok(JSON.parse(r.stdout).some((s) => s.name === 'stays'));
		}
		await coming;
		assert.deepEqual((await status(scratch)).map((s) => s.pid), [br.pid]);
	});

	scenario('a runtime directory that can not be used leaves the relay alone', { env: runtime, before: ({ br }) => { fs.mkdirSync(rundir(br.scratch), { mode: 0o777 }); fs.chmodSync(rundir(br.scratch), 0o777); } }, async ({ br }) => {
		assertText(await br.call('echo', { text: 'x' }), 'x');
	});
});

describe('mcp-holdfast log', () => {
	scenario('tells how many lines were left out', { env: runtime, args: ['--name', 'alpha', '--session-quota', '1', '--tool-errors', 'protocol'] }, async ({ br, scratch }) => {
		await shown(scratch);
		for (let i = 0; i < 300; i++) await br.call('echo', { text: 'x' });
		br.eof();
		await br.exited();
		const log = await command(scratch, 'log', 'alpha');
		const told = log.stdout.split('answered with rate_limited').length - 1, left = [...log.stdout.matchAll(/(\d+) more lines like this were left out: rate_limited/g)].reduce((n, m) => n + Number(m[1]), 0);
		assert.ok(told < 200, `${told} lines`);
		assert.equal(told + left, 299);
	});

	scenario('finds a bridge by a very long name', { env: runtime, args: ['--name', 'x'.repeat(150)] }, async ({ scratch }) => {
		await shown(scratch);
		const log = await command(scratch, 'log', 'x'.repeat(150));
		assert.equal(log.code, 0);
		assert.match(log.stdout, /connected/);
		assert.equal((await command(scratch, 'log', 'x'.repeat(60))).code, 1);
	});

	scenario('has the exact error afterwards, whatever the log level', { env: runtime, defaults: QUICK.filter((x) => x !== '--log-level' && x !== 'debug'), args: ['--silent', '--name', 'alpha'] }, async ({ srv, br, scratch }) => {
		srv.when('tools/list', (ex) => ex.reply(502), 3);
		await br.request('tools/list');
		br.eof();
		await br.exited();
		assert.equal(br.stderr, '');
		const log = await command(scratch, 'log', 'alpha');
		assert.equal(log.code, 0);
		assert.match(log.stdout, /connected \(streamable-http/);
		assert.match(log.stdout, /connection lost .*HTTP 502/);
	});

	scenario('follows what comes', { env: runtime }, async ({ srv, br, scratch, bridge }) => {
		await shown(scratch);
		const follower = bridge(['log', String(br.pid), '-f'], { env: { XDG_RUNTIME_DIR: scratch }, stdio: ['ignore', 'pipe', 'pipe'] });
		const seen = (re) => until(() => follower.lines.some((l) => re.test(l.raw)) || follower.chunks.some((c) => re.test(c)), 6000, String(re));
		await seen(/connected/);
		const { waiting } = await goAway(srv, br);
		await seen(/connection lost/);
		await srv.restart();
		await waiting;
		br.eof();
		await br.exited();
		await follower.exited(); // its bridge has ended: so does it
		follower.faults = [];
	});

	scenario('follows until nobody reads it any more', { env: runtime }, async ({ br, scratch, bridge }) => {
		await shown(scratch);
		const follower = bridge(['log', String(br.pid), '-f'], { env: { XDG_RUNTIME_DIR: scratch }, stdio: ['ignore', 'pipe', 'pipe'] });
		await until(() => follower.lines.length, 6000, 'a line');
		const gone = new Promise((done) => follower.child.on('exit', done));
		follower.child.stdout.destroy();
		await within(gone, 4000, 'the exit');
		assert.ok(br.alive);
		follower.faults = [];
		follower.chunks.length = 0;
	});

	scenario('outlives the signals that are for bridges', { env: runtime }, async ({ br, scratch, bridge }) => {
		await shown(scratch);
		const follower = bridge(['log', String(br.pid), '-f'], { env: { XDG_RUNTIME_DIR: scratch }, stdio: ['ignore', 'pipe', 'pipe'] });
		await until(() => follower.lines.length, 6000, 'a line');
		for (const p of [follower, br]) p.signal('SIGUSR1');
		await until(() => follower.lines.some((l) => /counters:/.test(l.raw)), 6000, 'the counters');
		br.eof();
		assert.equal((await follower.exited()).code, 0);
		follower.faults = [];
	});

	scenario('--no-log-ring keeps none', { env: runtime, args: ['--no-log-ring'] }, async ({ br, scratch }) => {
		await shown(scratch);
		assert.deepEqual(fs.readdirSync(rundir(scratch)), [`${br.pid}.status`]);
		const r = await command(scratch, 'log');
		assert.equal(r.code, 1);
		assert.match(r.stderr, /--no-log-ring/);
	});

	scenario('never shows a secret', { env: runtime, args: ['--header', 'Authorization: Bearer tok-verysecretvalue123'] }, async ({ srv, br, scratch }) => {
		srv.when('tools/list', (ex) => ex.error(-32000, 'bad Bearer tok-verysecretvalue123'));
		await br.request('tools/list');
		br.signal('SIGUSR1');
		await br.logged(/counters:/);
		await shown(scratch);
		for (const f of fs.readdirSync(rundir(scratch))) assert.ok(!fs.readFileSync(path.join(rundir(scratch), f)).includes('verysecret'), f);
	});

	it('names the bridges there are when asked for another', async () => {
		const scratch = scratchDirectory();
		const r = await command(scratch, 'log', 'nowhere');
		assert.equal(r.code, 1);
		assert.match(r.stderr, /no log of 'nowhere'/);
	});
});

describe('signals', () => {
	scenario('SIGUSR1 writes the counters as one line', { env: runtime }, async ({ br }) => {
		await br.call('echo', { text: 'x' });
		br.signal('SIGUSR1');
		const [line] = await br.logged(/counters: .*/);
		assert.match(line, /state=ready breaker=closed requests=2 answers=2 .*p50\/p95\/p99 .*tools\/call echo 1 in /);
	});
	scenario('SIGUSR2 reconnects now', { env: runtime }, async ({ srv, br, scratch }) => {
		await srv.standing();
		br.signal('SIGUSR2');
		await br.logged(/reconnecting now/);
		await shown(scratch, (s) => s.reconnects === 1 && !s.down);
	});
});

describe('nothing is due while nothing happens', () => {
	scenario('an idle bridge is not woken by its reports', { env: runtime, args: ({ scratch }) => ['--keepalive', '0', '--idle-timeout', '0', '--metrics-file', path.join(scratch, 'm.prom')] }, async ({ br, scratch }) => {
		await br.call('echo', { text: 'x' });
		await shown(scratch, (s) => s.answers === 2 && s.stateMs > 2500);
		const switches = () => br.status('voluntary_ctxt_switches');
		await until(() => fs.existsSync(path.join(scratch, 'm.prom')), 6000, 'a metrics file');
		const before = switches();
		await never(() => switches() > before + 1, 4000, 'a wake-up');
	});
});

/** The text exposition format, as its documentation has it; throws on anything else. */
function parseMetrics(text) {
	const families = new Map(), samples = [];
	assert.ok(text.endsWith('\n'));
	let current;
	for (const line of text.slice(0, -1).split('\n')) {
		let m;
		if ((m = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line))) { assert.ok(!families.has(m[1]), `${m[1]} twice`); current = { name: m[1], help: m[2] }; families.set(m[1], current); continue; }
		if ((m = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$/.exec(line))) { assert.equal(m[1], current.name); current.type = m[2]; continue; }
		m = /^([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\} (-?[0-9.e+-]+|\+Inf|NaN)$/.exec(line);
		assert.ok(m, `no sample: ${line}`);
		const base = current.type === 'histogram' ? m[1].replace(/_(bucket|sum|count)$/, '') : m[1];
		assert.equal(base, current.name, line);
		const labels = Object.fromEntries([...m[2].matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"/g)].map((x) => [x[1], x[2]]));
		samples.push({ name: m[1], labels, value: Number(m[3]) });
	}
	for (const f of families.values()) {
		assert.ok(f.type && f.help, f.name);
		if (f.type === 'counter') assert.match(f.name, /_total$/);
		else assert.doesNotMatch(f.name, /_total$/);
	}
	const keys = samples.map((s) => s.name + JSON.stringify(s.labels));
	assert.equal(new Set(keys).size, keys.length, 'a sample stands there twice');
	for (const s of samples.filter((x) => x.name.endsWith('_bucket'))) assert.ok(s.value >= 0 && 'le' in s.labels);
	const value = (name, labels = {}) => samples.find((s) => s.name === `mcp_holdfast_${name}` && Object.entries(labels).every(([k, v]) => s.labels[k] === v))?.value;
	return { families, samples, value };
}

describe('--metrics-file', () => {
	const file = (scratch) => path.join(scratch, 'm.prom');
	const args = ({ scratch }) => ['--metrics-file', file(scratch), '--name', 'al"pha'];
	scenario('is Prometheus text with the numbers of this run', { env: runtime, args }, async ({ br, scratch }) => {
		for (let i = 0; i < 3; i++) await br.call('echo', { text: 'x' });
		await br.call('no"such\\tool\n');
		await br.call('slow', { ms: 30 });
		br.eof();
		await br.exited();
		const m = parseMetrics(fs.readFileSync(file(scratch), 'utf8'));
		assert.equal(m.value('requests_total', { method: 'tools/call', tool: 'echo', outcome: 'ok' }), 3);
		assert.equal(m.value('requests_total', { tool: 'no\\"such\\\\tool\\n', outcome: 'error' }), 1);
		assert.equal(m.value('jsonrpc_errors_total', { code: '-32602' }), 1);
		assert.equal(m.value('request_duration_seconds_count', { tool: 'echo' }), 3);
		assert.equal(m.value('request_duration_seconds_bucket', { tool: 'slow', le: '+Inf' }), 1);
		assert.equal(m.value('request_duration_seconds_bucket', { tool: 'slow', le: '0.02' }), 0);
		assert.equal(m.value('up'), 0);
		for (const s of m.samples) assert.equal(s.labels.bridge, 'al\\"pha');
		const buckets = m.samples.filter((s) => s.name.endsWith('duration_seconds_bucket') && s.labels.tool === 'echo').map((s) => s.value);
		assert.deepEqual(buckets, [...buckets].sort((a, b) => a - b));
		assert.deepEqual(fs.readdirSync(scratch).filter((f) => f.startsWith('m.prom')), ['m.prom']);
	});

	scenario('counts drops with their cause, and re-sends with their reason', { env: runtime, args }, async ({ srv, br, scratch }) => {
		const { waiting } = await goAway(srv, br);
		const more = [1, 2, 3].map(() => br.call('echo', { text: 'x' }));
		await shown(scratch, (x) => x.held === 4);
		await srv.restart();
		await waiting;
		for (const c of more) await c;
		srv.when('prompts/list', (ex) => ex.reply(503, { 'Retry-After': '0' }), 1); /* which the bridge itself does not ask for */
		await br.request('prompts/list');
		br.eof();
		await br.exited();
		const m = parseMetrics(fs.readFileSync(file(scratch), 'utf8'));
		assert.equal(m.value('drops_total', { cause: 'The server could not be reached' }), 1);
		assert.equal(m.value('outage_duration_seconds_count'), 1);
		assert.equal(m.value('reconnects_total'), 1);
		assert.ok(m.value('reconnect_attempts_total') >= 1);
		assert.equal(m.value('retries_total', { reason: 'busy' }), 1);
		assert.equal(m.value('requests_held_total'), 4);
		assert.ok(m.value('state_seconds_total', { state: 'ready' }) > 0);
	});

	for (const [what, refusal, outcome] of [['refuses it', -32602, 'error'], ['does not know it, nor another way', -32601, 'error'], ['speaks 2026-07-28 only', -32022, 'ok']]) {
		scenario(`counts initialize once at a server that ${what}`, { connect: false }, async ({ srv, bridge, scratch }) => {
			srv.when('GET', (ex) => ex.reply(405));
			srv.when('initialize', (ex) => ex.error(refusal, 'no'));
			srv.when('server/discover', (ex) => (outcome === 'ok' ? ex.result({ supportedVersions: ['2026-07-28'], capabilities: {}, resultType: 'complete', ttlMs: 0, cacheScope: 'private' }) : ex.error(-32601, 'unknown')));
			const br = bridge([srv.url, '--metrics-file', file(scratch)], { env: { XDG_RUNTIME_DIR: scratch } });
			await br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'driver', version: '1' } });
			const s = await shown(scratch, (x) => x.answers === 1);
			assert.equal(s.errors, outcome === 'ok' ? 0 : 1);
			br.eof();
			await br.exited();
			const m = parseMetrics(fs.readFileSync(file(scratch), 'utf8'));
			assert.deepEqual(m.samples.filter((x) => x.name === 'mcp_holdfast_requests_total').map((x) => [x.labels.method, x.labels.outcome, x.value]), [['initialize', outcome, 1]]);
		});
	}

	scenario('ten thousand tool names stay few', { env: runtime, args }, async ({ br, scratch }) => {
		const calls = [];
		for (let i = 0; i < 10000; i++) calls.push(br.call(`tool-${i}`));
		for (const c of calls) await c.get(30000);
		br.eof();
		await br.exited();
		const m = parseMetrics(fs.readFileSync(file(scratch), 'utf8'));
		const tools = new Set(m.samples.filter((s) => s.name === 'mcp_holdfast_requests_total').map((s) => s.labels.tool));
		assert.ok(tools.size < 80, `${tools.size} tools`);
		assert.equal(m.samples.filter((s) => s.name === 'mcp_holdfast_requests_total').reduce((n, s) => n + s.value, 0), 10001);
	});

	scenario('a directory that vanishes is a line in the log', { env: runtime, args: ({ scratch }) => ['--metrics-file', path.join(scratch, 'gone', 'm.prom')] }, async ({ br }) => {
		await br.logged(/can not write the metrics file/);
		assertText(await br.call('echo', { text: 'x' }), 'x');
	});
});

describe('--notify', () => {
	const told = (br) => br.notifications.filter((m) => m.method === 'notifications/message' && m.params.logger === 'mcp-holdfast');
	const outage = async ({ srv, br }) => { const { waiting } = await goAway(srv, br); await srv.restart(); await waiting; };
	scenario('tells the client of loss and return', { args: ['--notify'] }, async (x) => {
		await outage(x);
		const [lost, back] = await until(() => told(x.br).length >= 2 && told(x.br), 4000, 'two messages');
		assert.equal(lost.params.level, 'warning');
		assert.match(lost.params.data, /was lost/);
		assert.equal(back.params.level, 'notice');
		assert.match(back.params.data, /is back after/);
	});
	scenario('keeps to the level that the client has set', { args: ['--notify'] }, async (x) => {
		await x.br.request('logging/setLevel', { level: 'warning' });
		await outage(x);
		assert.deepEqual(told(x.br).map((m) => m.params.level), ['warning']);
	});
	scenario('says nothing where logging was not negotiated', { args: ['--notify'], connect: false }, async (x) => {
		delete x.srv.capabilities.logging;
		await x.br.connect({ version: '2025-06-18' });
		await outage(x);
		assert.deepEqual(told(x.br), []);
	});
	scenario('is off by default', {}, async (x) => {
		await outage(x);
		assert.deepEqual(told(x.br), []);
	});
});

describe('trace context', () => {
	const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
	scenario('of a request goes out as headers, and its body stays as it is', {}, async ({ srv, br }) => {
		await br.call('echo', { text: 'x' }, { meta: { traceparent: parent, tracestate: 'a=b' } });
		const [ex] = srv.seen('tools/call');
		assert.equal(ex.headers.traceparent, parent);
		assert.equal(ex.headers.tracestate, 'a=b');
		assert.deepEqual(ex.message.params._meta, { traceparent: parent, tracestate: 'a=b' });
	});
	scenario('is added to no body and no head that had none', {}, async ({ srv, br }) => {
		await br.call('echo', { text: 'x' });
		const [ex] = srv.seen('tools/call');
		assert.equal(ex.headers.traceparent, undefined);
		assert.equal(ex.message.params._meta, undefined);
	});
	scenario('that is malformed reaches no header', {}, async ({ srv, br }) => {
		await br.call('echo', { text: 'x' }, { meta: { traceparent: `${parent}\r\nX-Evil: 1` } });
		assert.equal(srv.seen('tools/call')[0].headers.traceparent, undefined);
	});
});
