// An MCP client on stdio that drives the program under test and holds it to what
// is promised in every situation: each stdout line is one JSON-RPC message, each
// request gets exactly one answer with its own id, and nothing else is said.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import assert from 'node:assert/strict';
import { BINARY, SLOW, until, within } from './wait.mjs';

/** Short delays, so that a test of recovery takes fractions of a second. */
export const QUICK = ['--initial-retry-delay', '100', '--max-retry-delay', '800', '--log-level', 'debug'];

export function scratchDirectory() { return fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-')); }

/** The environment of every process here: nothing of the user's settings, caches in a directory of its own. */
export function cleanEnvironment(scratch, extra = {}) {
	const env = { PATH: process.env.PATH, HOME: scratch, XDG_CACHE_HOME: path.join(scratch, 'cache'), XDG_CONFIG_HOME: path.join(scratch, 'config'), TMPDIR: scratch };
	for (const k of ['ASAN_OPTIONS', 'UBSAN_OPTIONS', 'LSAN_OPTIONS']) if (process.env[k]) env[k] = process.env[k];
	return { ...env, ...extra };
}

export class Bridge {
	/** options: env, stdio (as for spawn), scratch. */
	constructor(argv, { env = {}, stdio = ['pipe', 'pipe', 'pipe'], scratch = scratchDirectory(), command = BINARY } = {}) {
		Object.assign(this, { argv, scratch, lines: [], notifications: [], asks: [], handlers: {}, stderr: '', stray: [], pending: new Map(), sent: 0, cancelled: new Set(), partial: '' });
		this.startedAt = performance.now();
		this.child = spawn(command, argv, { env: cleanEnvironment(scratch, env), stdio });
		this.child.stdin?.on('error', () => {});
		this.child.stdout?.on('error', () => {});
		this.child.stderr?.on('data', (d) => { this.stderr += d.toString('latin1'); });
		this.chunks = [];
		this.child.stdout?.on('data', (d) => this.#read(d));
		this.ended = new Promise((done) => this.child.on('close', (code, signal) => { this.end = { code, signal, at: performance.now() }; done(this.end); }));
		this.child.on('error', (e) => { this.spawnError = e; });
	}
	get pid() { return this.child.pid; }

	#read(data) {
		let from = 0;
		for (let nl; (nl = data.indexOf(10, from)) >= 0; from = nl + 1) {
			this.chunks.push(data.subarray(from, nl));
			const line = Buffer.concat(this.chunks);
			this.chunks = [];
			this.#line(line);
		}
		if (from < data.length) this.chunks.push(data.subarray(from));
	}
	#line(bytes) {
		const raw = bytes.toString('utf8');
		const at = performance.now();
		const entry = { raw, at };
		this.lines.push(entry);
		if (!Buffer.from(raw).equals(bytes)) { this.fault(`a stdout line is not UTF-8: ${JSON.stringify(raw.slice(0, 120))}`); return; }
		let m;
		try { m = JSON.parse(raw); } catch { this.fault(`a stdout line is not JSON: ${JSON.stringify(raw.slice(0, 120))}`); return; }
		entry.message = m;
		for (const one of Array.isArray(m) ? m : [m]) this.#message(one, raw, at);
	}
	#message(m, raw, at) {
		if (m === null || typeof m !== 'object' || m.jsonrpc !== '2.0') { this.fault(`a stdout line is not JSON-RPC: ${raw.slice(0, 120)}`); return; }
		if (m.method !== undefined && m.id === undefined) { this.notifications.push(m); return; }
		if (m.method !== undefined) { this.asks.push(m); this.#asked(m); return; }
		if (!('result' in m) === !('error' in m)) this.fault(`an answer has not exactly one of result and error: ${raw.slice(0, 120)}`);
		const key = JSON.stringify(m.id), p = this.pending.get(key);
		if (!p) { this.stray.push(m); return; }
		p.answers++;
		if (p.answers > 1) this.fault(`request ${key} was answered ${p.answers} times`);
		Object.assign(m, { raw, ms: at - p.at });
		for (const hidden of ['raw', 'ms']) Object.defineProperty(m, hidden, { enumerable: false });
		p.answer = m;
		p.answeredAt = at;
		p.settle(m);
	}
	async #asked(m) {
		const handler = this.handlers[m.method];
		const outcome = handler ? await handler(m) : m.method === 'ping' || m.method === 'roots/list' ? { result: m.method === 'ping' ? {} : { roots: [] } } : { result: { role: 'assistant', model: 'none', content: { type: 'text', text: 'said' } } };
		if (outcome) this.raw(JSON.stringify({ jsonrpc: '2.0', id: m.id, ...outcome }));
	}
	fault(text) { (this.faults ??= []).push(text); }

	raw(text) { this.child.stdin.write(Buffer.isBuffer(text) ? text : `${text}\n`); }
	/** Announces a request whose bytes the test writes itself. */
	expect(id) {
		let settle;
		const promise = new Promise((ok) => { settle = ok; });
		const p = { id, at: performance.now(), answers: 0, settle, promise };
		this.pending.set(JSON.stringify(id), p);
		const answer = (ms = 12000) => within(promise, ms, `an answer to ${JSON.stringify(id)}`);
		return Object.assign(p, { answer: undefined, get: answer, then: (ok, fail) => answer().then(ok, fail) });
	}
	/** Sends a request; awaiting what it gives waits for the answer (result or error). */
	request(method, params, { id = ++this.sent } = {}) {
		const p = this.expect(id);
		this.raw(JSON.stringify({ jsonrpc: '2.0', id, method, ...(params !== undefined && { params }) }));
		return p;
	}
	call(name, args = {}, { meta, id } = {}) { return this.request('tools/call', { name, arguments: args, ...(meta && { _meta: meta }) }, { id }); }
	notify(method, params) { this.raw(JSON.stringify({ jsonrpc: '2.0', method, ...(params !== undefined && { params }) })); }
	cancel(request) { this.cancelled.add(JSON.stringify(request.id)); this.notify('notifications/cancelled', { requestId: request.id, reason: 'no longer needed' }); }

	async connect({ version = '2025-06-18', capabilities = { sampling: {}, roots: { listChanged: true }, elicitation: {} } } = {}) {
		const answer = await this.request('initialize', { protocolVersion: version, capabilities, clientInfo: { name: 'driver', version: '1' } });
		assert.ok(answer.result, `initialize failed: ${answer.raw}`);
		this.notify('notifications/initialized');
		return answer;
	}

	notified(method, n = 1, ms) { return until(() => { const l = this.notifications.filter((m) => m.method === method); return l.length >= n && l; }, ms, `${n} x ${method} at the client`); }
	logged(pattern, ms) { return until(() => pattern.exec(this.stderr), ms, `${pattern} on stderr`); }
	eof() { this.eofAt = performance.now(); this.child.stdin.end(); }
	signal(name) { this.signalAt = performance.now(); this.child.kill(name); }
	/** Waits for the end; `ms` in the answer counts from the EOF or signal. */
	async exited(ms = 7000) {
		await within(this.ended, ms, 'the end of the process');
		return { ...this.end, ms: this.end.at - (this.signalAt ?? this.eofAt ?? this.startedAt) };
	}
	get alive() { return !this.end && this.child.exitCode === null && this.child.signalCode === null; }
	/** A field of /proc/PID/status in its own unit (kB for memory). */
	status(field) { return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(fs.readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1]); }

	/** Ends the process if it still runs and checks what must hold in every test. */
	async finish({ strays = 0 } = {}) {
		if (this.spawnError) throw this.spawnError;
		const wasAlive = this.alive;
		if (wasAlive) {
			const open = [...this.pending.values()].some((p) => !p.answers && !this.cancelled.has(JSON.stringify(p.id)));
			if (open || !this.child.stdin || this.child.stdin.destroyed) this.signal('SIGTERM'); else this.eof();
		}
		const end = await this.exited();
		if (wasAlive && this.eofAt && !this.signalAt) assert.equal(end.code, 0, `exit status after EOF (signal ${end.signal})`);
		if (this.chunks.length) this.fault(`stdout ends within a line: ${Buffer.concat(this.chunks).toString().slice(0, 120)}`);
		assert.deepEqual(this.faults ?? [], []);
		assert.equal(this.stray.length, strays, `answers nobody asked for: ${JSON.stringify(this.stray.slice(0, 3))}`);
		for (const p of this.pending.values()) if (!p.answers && !this.cancelled.has(JSON.stringify(p.id))) assert.fail(`request ${JSON.stringify(p.id)} was never answered`);
		this.assertSane();
	}
	assertSane() {
		assert.doesNotMatch(this.stderr, /ERROR: \w*Sanitizer|runtime error:|LeakSanitizer|Assertion .* failed/);
		assert.notEqual(this.end?.signal, 'SIGSEGV');
		assert.notEqual(this.end?.signal, 'SIGABRT');
	}
	/** For the very end: nothing of ours survives the test. */
	async destroy() {
		if (this.alive) { this.child.kill('SIGKILL'); await this.ended; }
		fs.rmSync(this.scratch, { recursive: true, force: true });
	}
	transcript(n = 18) {
		return `--- stderr\n${this.stderr.trimEnd().split('\n').slice(-n).join('\n')}\n--- stdout\n${this.lines.slice(-6).map((l) => l.raw.slice(0, 240)).join('\n')}`;
	}
}

/** Runs the program to its end, for what needs no server. */
export async function run(argv, { ms = 8000, ...options } = {}) {
	const b = new Bridge(argv, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
	let out = '';
	b.child.stdout?.on('data', (d) => { out += d; });
	const end = await within(b.ended, ms, `the end of mcp-holdfast ${argv.join(' ')}`);
	fs.rmSync(b.scratch, { recursive: true, force: true });
	b.assertSane();
	return { ...end, stdout: out, stderr: b.stderr };
}

export { SLOW };
