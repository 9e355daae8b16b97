// One test: a scripted server, the program under test, a client, and the checks
// that hold in every situation. A failure shows what went over the wire.
import { it } from 'node:test';
import assert from 'node:assert/strict';
import { Server } from './server.mjs';
import { Bridge, QUICK, scratchDirectory } from './bridge.mjs';

export { assert };
export { describe, it } from 'node:test';
export { Server } from './server.mjs';
export { Bridge, run, QUICK, scratchDirectory } from './bridge.mjs';
export { until, never, within, pause, median, SLOW, SANITIZED, ROOT, BINARY } from './wait.mjs';

/**
 * setup: server (options of Server, or false for none), args (added to QUICK),
 * defaults (in place of QUICK), version, capabilities, env, stdio, connect
 * (false: the test says initialize itself), url(server), strays (answers with id
 * null that the test provokes).
 */
export function scenario(name, setup, body) {
	it(name, { timeout: 60000 }, async (t) => {
		const servers = [], bridges = [];
		const tools = {
			t,
			server: async (options) => { const s = await Server.start(options); servers.push(s); return s; },
			bridge: (argv, options) => { const b = new Bridge(argv, options); bridges.push(b); return b; },
		};
		try {
			const version = setup.version ?? (setup.server?.mode === 'sse' ? '2024-11-05' : '2025-06-18');
			const srv = setup.server === false ? undefined : await tools.server({ version: version > '2024-11-05' ? version : '2025-11-25', ...setup.server });
			const scratch = scratchDirectory();
			const extra = typeof setup.args === 'function' ? await setup.args({ srv, scratch }) : setup.args ?? [];
			const env = typeof setup.env === 'function' ? setup.env({ srv, scratch }) : setup.env;
			const br = tools.bridge([setup.url ? setup.url(srv) : srv.url, ...(setup.defaults ?? QUICK), ...extra], { env, stdio: setup.stdio, scratch });
			await setup.before?.({ srv, br });
			if (setup.connect !== false) await br.connect({ version, capabilities: setup.capabilities });
			await body({ srv, br, scratch, ...tools });
			for (const b of bridges) await b.finish({ strays: setup.strays });
		} catch (e) {
			e.message += `\n--- wire\n${servers.map((s) => s.wire()).join('\n--- second server\n')}\n${bridges.map((b) => b.transcript()).join('\n')}`;
			throw e;
		} finally {
			for (const b of bridges) await b.destroy();
			for (const s of servers) await s.stop();
		}
	});
}

export const textOf = (answer) => answer.result?.content?.[0]?.text;
/** The answer is a result with this text. */
export function assertText(answer, expected) {
	assert.ok(answer.result && !answer.result.isError, `a result was expected: ${answer.raw.slice(0, 300)}`);
	if (expected !== undefined) assert.equal(textOf(answer), expected);
	return answer;
}
export function assertResult(answer) {
	assert.ok(answer.result && !answer.result.isError, `a result was expected: ${answer.raw.slice(0, 300)}`);
	return answer.result;
}
/** Some failure: a JSON-RPC error, or the isError result that tools/call gets. */
export function assertFailure(answer) {
	assert.ok(answer.error || answer.result?.isError, `a failure was expected: ${answer.raw.slice(0, 300)}`);
	return answer.error?.message ?? textOf(answer);
}
/** An error the program made itself, of this kind. */
export function assertOwnError(answer, kind) {
	assert.ok(answer.error, `an error was expected: ${answer.raw.slice(0, 300)}`);
	const { code, data, message } = answer.error;
	assert.ok(code < -32768 || code > -32000, `code ${code} is in the reserved range`);
	assert.equal(data?.source, 'mcp-holdfast');
	if (kind) assert.equal(data.kind, kind, answer.raw.slice(0, 300));
	assert.equal(typeof data.retryable, 'boolean');
	assert.match(data.ref, /^[0-9a-f]{8}$/);
	assert.equal(typeof message, 'string');
	return answer.error;
}
/** The server goes away and the bridge has noticed; gives the list request that made it notice, which waits (in an object, since it could be awaited). */
export async function goAway(srv, br, options) {
	await srv.standing();
	await srv.stop(options);
	const waiting = br.request('tools/list');
	await br.logged(/ready > wait/);
	return { waiting };
}
