// The demonstration: a server that keeps dropping the line, a client that calls
// its tools all the while, and mcp-holdfast in between. Told in plain words.
import { Server } from '../tests/lib/server.mjs';
import { Bridge } from '../tests/lib/bridge.mjs';
import { median, pause } from '../tests/lib/wait.mjs';

const say = (text) => console.log(text);
const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;
const textOf = (answer) => answer.result?.content?.[0]?.text;

/** What can happen to a line, and how the server does it. */
const CUTS = [
	['the server closes every connection (FIN)', (srv) => srv.cut('fin')],
	['every connection is torn down (RST)', (srv) => srv.cut('reset')],
	['the line goes silent: nothing arrives any more, nobody says why', (srv) => {
		for (const c of srv.connections) c.onData = () => true;
		for (const s of srv.sessions.values()) for (const { out } of s.channels.values()) if (out) { out.quiet = true; out.raw = () => out; out.end = () => out; }
	}],
	['the server restarts and has forgotten every session', async (srv) => {
		await srv.stop({ forget: true });
		await pause(400);
		await srv.listen(srv.port);
	}],
];
const ROUNDS = 3, CALLS = 6;

const srv = await Server.start({ respond: 'sse', beat: 500 });
const bridge = new Bridge([srv.url, '--request-timeout', '2s', '--idle-timeout', '2s']);
let calls = 0, results = 0, cuts = 0;
const recoveries = [];

/** One batch of calls; the answers in the order they were asked. */
async function callTools(tag) {
	const pending = Array.from({ length: CALLS }, (_, i) => bridge.call('echo', { text: `${tag}.${i}` }));
	calls += CALLS;
	for (const [i, p] of pending.entries()) {
		const answer = await p.get(25000);
		if (textOf(answer) === `${tag}.${i}`) results++;
		else say(`    call ${tag}.${i} got: ${textOf(answer) ?? answer.error?.message}`);
	}
}

try {
	say('A client is connected to a server through mcp-holdfast. It sees one plain, steady server.\n');
	await bridge.connect();
	await bridge.request('tools/list');
	await callTools('warm-up');
	say(`  ${results} of ${calls} calls answered. Now the line is cut, again and again, while calls go on.\n`);
	for (let round = 1; round <= ROUNDS; round++) {
		for (const [what, cut] of CUTS) {
			say(`  ${String(++cuts).padStart(2)}. ${what}`);
			const from = performance.now();
			await cut(srv);
			await callTools(`cut${cuts}`);
			const ms = performance.now() - from;
			recoveries.push(ms);
			say(`      ${CALLS} calls answered, ${seconds(ms)} after the cut`);
		}
	}
	const writes = 3;
	for (let i = 0; i < writes; i++) { calls++; if ((await bridge.call('append')).result) results++; }
	await bridge.finish();
	const handshakes = bridge.lines.filter((l) => l.message.result?.serverInfo).length;
	say(`\nCalls made: ${calls}. Answered: ${results}. Line cut: ${cuts} times. Reconnected in (median): ${seconds(median(recoveries))}, slowest ${seconds(Math.max(...recoveries))}.`);
	say(`The server shook hands ${srv.seen('initialize').length} times; the client saw ${handshakes} initialize. ${writes} calls with side effects ran ${srv.ran('append')} times.`);
	const good = results === calls && handshakes === 1 && srv.ran('append') === writes;
	say(good ? 'Every call was answered.' : 'Not every call was answered.');
	process.exitCode = good ? 0 : 1;
} catch (e) {
	console.error(`\nThe demonstration failed: ${e.message}\n${bridge.transcript()}`);
	process.exitCode = 1;
} finally {
	await bridge.destroy();
	await srv.stop();
}
