// The main job on real input: the official client over stdio, server-everything
// over HTTP, and between them a relay that cuts every connection every 1 to 3 s.
import { it, describe } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { ResourceUpdatedNotificationSchema, ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { Relay } from '../lib/relay.mjs';
import { BINARY, median, pause, SLOW } from '../lib/wait.mjs';
import { cleanEnvironment, scratchDirectory } from '../lib/bridge.mjs';
import { Everything } from './everything.mjs';

const OPS = Number(process.env.HOLDFAST_OPS ?? 500);
const WORKERS = 4;
const REQUEST_TIMEOUT = 5000;
/** Few operations are spread over as much time: the relay needs some to cut. */
const GAP = Math.max(60, (16000 * WORKERS) / OPS);

/** A stdio transport that keeps every byte of stdout and every complaint. */
function watchedTransport(url, scratch) {
	const transport = new StdioClientTransport({ command: BINARY, args: [url, '--request-timeout', '5s', '--log-level', 'debug', '--tool-errors', 'protocol'], env: cleanEnvironment(scratch), stderr: 'pipe' });
	const watch = { transport, stdout: '', stderr: '' };
	transport.stderr.on('data', (d) => { watch.stderr += d; });
	const start = transport.start.bind(transport);
	transport.start = async () => {
		await start();
		transport._process.stdout.on('data', (d) => { watch.stdout += d; });
		transport._process.on('exit', (code, signal) => { watch.exit = { code, signal }; });
	};
	return watch;
}

/** One operation of each kind in turn; each checks its own answer. */
function operations(client) {
	const text = (r) => r.content?.[0]?.text;
	const uri = (n) => `demo://resource/dynamic/text/${1 + (n % 90)}`;
	const appended = [];
	const kinds = [
		async (n) => assert.equal(text(await client.callTool({ name: 'echo', arguments: { message: `m${n}` } })), `Echo: m${n}`),
		async () => assert.ok((await client.listTools()).tools.some((t) => t.name === 'append')),
		async (n) => { const line = `line-${n}`; const entry = { line }; appended.push(entry); entry.answer = text(await client.callTool({ name: 'append', arguments: { line } })); assert.equal(entry.answer, `wrote ${line}`); },
		async (n) => assert.ok((await client.readResource({ uri: uri(n) })).contents[0].text.includes(String(1 + (n % 90)))),
		async (n) => assert.match(text(await client.callTool({ name: 'get-sum', arguments: { a: n, b: 1 } })), new RegExp(`\\b${n + 1}\\b`)),
		async () => assert.ok((await client.listPrompts()).prompts.length > 0),
		async (n) => { await client.subscribeResource({ uri: uri(n) }); },
		async (n) => assert.equal(text(await client.callTool({ name: 'echo', arguments: { message: `long ${'x'.repeat(5000)} ${n}` } })).length, `Echo: long ${'x'.repeat(5000)} ${n}`.length),
		async () => assert.ok((await client.listResources()).resources.length > 0),
		async () => assert.ok((await client.getPrompt({ name: 'simple-prompt' })).messages.length > 0),
		async (n) => { const seen = []; const r = await client.callTool({ name: 'trigger-long-running-operation', arguments: { duration: 0.6, steps: 3 } }, undefined, { onprogress: (p) => seen.push(p.progress), resetTimeoutOnProgress: true }); assert.match(text(r), /Long running operation completed/, String(n)); },
		async (n) => { await client.unsubscribeResource({ uri: uri(n - 5) }); },
		async () => assert.ok((await client.listResourceTemplates()).resourceTemplates.length > 0),
		async () => { await client.ping(); },
	];
	return { appended, run: (n) => kinds[n % kinds.length](n), isAppend: (n) => n % kinds.length === 2 };
}

/**
 * For each cut: how long until an operation that began after it was answered. A
 * cut that falls into a replacement of the server says nothing: nobody was there.
 * Nor does one whose recovery a silence falls into that is not noticed yet, before
 * or after the cut: it is waited for as well, and judged by itself.
 */
function recoveries(cuts, answered, outages) {
	const all = cuts.map(({ kind, at }) => ({ kind, at, next: answered.filter((a) => a.from >= at).map((a) => a.to).sort((a, b) => a - b)[0] }));
	const silences = all.filter((c) => c.kind === 'silence');
	return all.flatMap(({ kind, at, next }) => {
		const healthy = next !== undefined && !outages.some((o) => at < o.to && next > o.from);
		const alone = kind === 'silence' || !silences.some((s) => !(s.at > next) && !(s.next < at));
		return healthy && alone ? [{ kind, ms: next - at }] : [];
	});
}

async function hold(transportName, route) {
	const scratch = scratchDirectory();
	const server = new Everything(transportName, scratch);
	let relay, watch;
	const client = new Client({ name: 'interop', version: '1' });
	const failures = [], answered = [];
	let updates = 0;
	client.setNotificationHandler(ResourceUpdatedNotificationSchema, () => { updates++; });
	// As clients do: a list that changed is listed again.
	client.setNotificationHandler(ToolListChangedNotificationSchema, () => { client.listTools().catch(() => {}); });
	const complaints = [];
	client.onerror = (e) => complaints.push(e.message);
	try {
		await server.start();
		relay = await Relay.start({ target: server.port });
		watch = watchedTransport(`http://127.0.0.1:${relay.port}${route}`, scratch);
		await client.connect(watch.transport, { timeout: 60000 });
		await client.listTools();
		const { appended, run, isAppend } = operations(client);

		const swaps = [Math.floor(OPS / 3), Math.floor((OPS * 2) / 3)];
		const outages = [];
		const replace = async () => { const from = performance.now(); await server.replace(); outages.push({ from, to: performance.now() }); };
		let next = 0, swapping = Promise.resolve();
		const worker = async () => {
			while (next < OPS) {
				const n = next++;
				if (n === swaps[0]) { swaps.shift(); swapping = replace(); }
				const from = performance.now();
				try {
					await run(n);
					answered.push({ from, to: performance.now() });
				} catch (e) {
					const kind = e.data?.kind;
					// The one honest failure: a call with effects whose answer was lost.
					if (!(isAppend(n) && (kind === 'outcome_unknown' || (kind === 'timeout' && e.data?.retryable === false)))) failures.push(`${n}: ${e.message} ${JSON.stringify(e.data ?? {})}`);
				}
				await pause(GAP);
			}
		};
		await Promise.all(Array.from({ length: WORKERS }, worker));
		await swapping;
		relay.calm();

		const ran = server.ran, lines = watch.stdout.split('\n');
		assert.deepEqual(failures.slice(0, 5), [], `${failures.length} operations failed for a reason that a retry may cure`);
		assert.equal(new Set(ran).size, ran.length, `run twice: ${ran.filter((l, i) => ran.indexOf(l) !== i)}`);
		for (const { line, answer } of appended) if (answer) assert.ok(ran.includes(line), `${line} was answered and never ran`);
		assert.equal(server.starts, 3);
		assert.equal(lines.pop(), '', 'stdout ends with a whole line');
		for (const l of lines) assert.equal(JSON.parse(l).jsonrpc, '2.0');
		assert.equal(lines.filter((l) => JSON.parse(l).result?.serverInfo).length, 1, 'initialize results');
		const ids = lines.map((l) => JSON.parse(l)).filter((m) => m.method === undefined).map((m) => m.id);
		assert.equal(new Set(ids).size, ids.length, 'requests answered twice');
		// The client handles a notification a tick later than an answer in the same chunk, and then
		// complains that progress has no request any more: its order on stdout is what counts.
		assert.deepEqual(complaints.filter((c) => !/progress notification for an unknown token/.test(c)), []);
		assert.doesNotMatch(watch.stderr, /Sanitizer|runtime error/);
		assert.equal(watch.exit, undefined, 'the process lives');

		const back = recoveries(relay.cuts, answered, outages);
		const told = back.filter((r) => r.kind !== 'silence').map((r) => r.ms), silent = back.filter((r) => r.kind === 'silence').map((r) => r.ms);
		const line = `${transportName}: ${OPS} operations, ${relay.cuts.length} cuts, ${appended.filter((a) => !a.answer).length} of ${appended.length} outcomes unknown, ${updates} updates; back after ${Math.round(median(back.map((r) => r.ms)))} ms (median), ${Math.round(Math.max(...told))} ms at most after a cut, ${Math.round(Math.max(0, ...silent))} ms after silence`;
		console.log(line);
		assert.ok(relay.cuts.length >= 10, `only ${relay.cuts.length} cuts`);
		assert.ok(median(back.map((r) => r.ms)) < 2000 * SLOW, line);
		assert.ok(Math.max(...told) < 5000 * SLOW, line);
		// Silence is noticed when the request times out; from then on the same bound holds.
		assert.ok(Math.max(0, ...silent) < REQUEST_TIMEOUT + 5000 * SLOW, line);
	} catch (e) {
		e.message += `\n--- stderr\n${watch?.stderr.split('\n').slice(-40).join('\n')}\n--- server\n${server.output.slice(-1500)}`;
		throw e;
	} finally {
		await client.close().catch(() => {});
		await relay?.stop();
		await server.stop();
		fs.rmSync(scratch, { recursive: true, force: true });
	}
}

describe('server-everything through a relay that cuts every connection every 1 to 3 s', { concurrency: 2 }, () => {
	it('over Streamable HTTP: nothing fails that a retry may cure and nothing runs twice', { timeout: 300000 }, () => hold('streamableHttp', '/mcp'));
	it('over HTTP+SSE: nothing fails that a retry may cure and nothing runs twice', { timeout: 300000 }, () => hold('sse', '/sse'));
});
