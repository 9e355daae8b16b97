// How it ends, and the descriptors it was given.
import fs from 'node:fs';
import path from 'node:path';
import { spawn, execFileSync } from 'node:child_process';
import { assert, assertFailure, assertResult, assertText, BINARY, describe, goAway, never, pause, QUICK, SANITIZED, scenario, SLOW, textOf, until, within } from '../lib/scenario.mjs';
import { cleanEnvironment } from '../lib/bridge.mjs';

const line = (id, method, params) => `${JSON.stringify({ jsonrpc: '2.0', ...(id !== undefined && { id }), method, ...(params && { params }) })}\n`;
const SESSION = line('init', 'initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }) + line(undefined, 'notifications/initialized') + line('call', 'tools/call', { name: 'echo', arguments: { text: 'piped' } });

describe('the end', { concurrency: 4 }, () => {
	scenario('at EOF waits for what is in flight, then DELETE, then exit 0', {}, async ({ srv, br }) => {
		const slow = br.call('slow', { ms: 900 });
		await srv.sees('tools/call:slow');
		br.eof();
		assert.equal((await br.exited()).code, 0);
		assert.equal(textOf(slow.answer), 'at last');
		assert.equal(srv.seen('DELETE').length, 1);
	});

	scenario('at EOF answers what is left after 5 s with an error', {}, async ({ srv, br }) => {
		srv.when('tools/call', (e) => e.silence());
		const calls = [br.call('append'), br.call('append')];
		await srv.sees('tools/call', 2);
		br.eof();
		const end = await br.exited(9000);
		assert.equal(end.code, 0);
		assert.ok(end.ms >= 4000 && end.ms < 7000, `after ${end.ms} ms`);
		for (const c of calls) assertFailure(c.answer);
	});

	scenario('at EOF with nothing open comes at once', {}, async ({ br }) => {
		await br.call('echo');
		br.eof();
		const end = await br.exited();
		assert.ok(end.ms < 700 * 3, `after ${end.ms} ms`);
	});

	scenario('at EOF while the server is away comes within 5 s, with everything answered', {}, async ({ srv, br }) => {
		await goAway(srv, br);
		const call = br.call('append');
		br.eof();
		const end = await br.exited();
		assert.ok(end.ms < 6000, `after ${end.ms} ms`);
		assertFailure(call.answer);
	});

	scenario('a request piped in before EOF gets its answer though nothing was connected yet', { connect: false }, async ({ br }) => {
		const init = br.expect('init'), call = br.expect('call');
		br.raw(Buffer.from(SESSION));
		br.eof();
		assert.equal((await br.exited()).code, 0);
		assertResult(init.answer);
		assertText(call.answer, 'piped');
	});

	scenario('a request piped in before EOF gets its answer though the server comes only after it', { connect: false, before: ({ srv }) => srv.stop() }, async ({ srv, br }) => {
		const init = br.expect('init'), call = br.expect('call');
		br.raw(Buffer.from(SESSION));
		br.eof();
		await br.logged(/refused|reached/i);
		await srv.listen(srv.port);
		assert.equal((await br.exited()).code, 0);
		assertResult(init.answer);
		assertText(call.answer, 'piped');
	});

	scenario('a last line without its newline counts', { connect: false }, async ({ br }) => {
		br.expect('init');
		const call = br.expect('call');
		br.raw(Buffer.from(SESSION.trimEnd()));
		br.eof();
		await br.exited();
		assertText(call.answer, 'piped');
	});

	scenario('EOF without a word ends at once', { connect: false }, async ({ srv, br }) => {
		br.eof();
		const end = await br.exited();
		assert.equal(end.code, 0);
		assert.equal(srv.exchanges.length, 0);
	});

	for (const [signal, number] of [['SIGTERM', 15], ['SIGINT', 2], ['SIGHUP', 1]]) {
		scenario(`${signal} ends within 1 s with status ${128 + number}, DELETE sent`, {}, async ({ srv, br }) => {
			await br.call('echo');
			br.signal(signal);
			const end = await br.exited();
			assert.equal(end.code, 128 + number);
			assert.ok(end.ms < 1000 * 3 && (SANITIZED || end.ms < 1000), `after ${end.ms} ms`);
			assert.equal(srv.seen('DELETE').length, 1);
		});

		scenario(`${signal} answers what is in flight with an error`, {}, async ({ srv, br }) => {
			srv.when('tools/call', (e) => e.silence());
			const calls = [br.call('append'), br.call('append'), br.request('tools/list')];
			await srv.sees('tools/call', 2);
			br.signal(signal);
			const end = await br.exited();
			assert.ok(end.ms < 2000, `after ${end.ms} ms`);
			for (const c of calls) assert.equal(c.answers, 1);
		});
	}

	scenario('SIGHUP means nothing where it was ignored at the start', { connect: false }, async ({ srv, bridge }) => {
		const b = bridge(['-c', 'trap "" HUP; exec "$@"', 'sh', BINARY, srv.url, ...QUICK], { command: '/bin/sh' });
		await b.connect();
		b.signal('SIGHUP');
		assertText(await b.call('echo', { text: 'here' }), 'here');
		b.signal('SIGTERM');
		assert.equal((await b.exited()).code, 128 + 15);
	});

	scenario('a signal ends within 1 s though the client reads nothing and nothing is answered', {}, async ({ srv, br }) => {
		const text = 'x'.repeat(100000);
		br.child.stdout.pause();
		for (let i = 0; i < 60; i++) br.raw(JSON.stringify({ jsonrpc: '2.0', id: `u${i}`, method: 'tools/call', params: { name: 'echo', arguments: { text } } }));
		await srv.sees('tools/call', 10); // more than the pipe holds, less than what stops the reading
		srv.when('DELETE', (e) => e.silence());
		const exit = new Promise((done) => br.child.once('exit', done));
		const at = performance.now();
		br.signal('SIGTERM');
		assert.equal(await within(exit, 5000, 'the end'), 143);
		const ms = performance.now() - at;
		assert.ok(ms < 1600 * SLOW, `after ${ms} ms`); // 1000 and some for a busy machine; it was 1900
		br.child.stdout.destroy();
		br.chunks = []; // half a line stood in the pipe
	});

	scenario('the second signal ends at once', {}, async ({ srv, br }) => {
		srv.when((e) => e.kind === 'DELETE' || e.kind === 'tools/call', (e) => e.silence());
		void br.call('append');
		await srv.sees('tools/call');
		br.signal('SIGTERM');
		await br.logged(/signal/);
		br.signal('SIGTERM');
		const end = await br.exited();
		assert.ok(end.ms < 500, `after ${end.ms} ms`);
		br.pending.clear();
	});

	scenario('a signal while nothing is connected ends as fast', { connect: false, before: ({ srv }) => srv.stop() }, async ({ br }) => {
		const init = br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } });
		await br.logged(/refused|retry/i);
		br.signal('SIGTERM');
		const end = await br.exited();
		assert.equal(end.code, 143);
		assert.ok(end.ms < 1000 * 2, `after ${end.ms} ms`);
		assert.equal(init.answers, 1);
	});

	scenario('stdout closed ends it, with nothing to write and without spinning', {}, async ({ br }) => {
		await br.call('echo');
		const from = performance.now();
		br.child.stdout.destroy();
		br.chunks = []; // half a line stood in the pipe
		await br.ended;
		assert.ok(performance.now() - from < 2000 * 2, `after ${performance.now() - from} ms`);
	});

	scenario('stdout closed while the server talks ends it', {}, async ({ srv, br }) => {
		await srv.standing();
		br.child.stdout.destroy();
		br.chunks = []; // half a line stood in the pipe
		const timer = setInterval(() => srv.notify('notifications/x'), 50);
		await until(() => !br.alive, 3000, 'the end').finally(() => clearInterval(timer));
	});
});

describe('descriptors', { concurrency: 4 }, () => {
	/** Runs the program by a shell, so that its stdio is whatever the shell makes of it. */
	const shell = (srv, scratch, script, args = []) => {
		const child = spawn('/bin/sh', ['-c', script, 'sh', BINARY, srv.url, ...QUICK, ...args], { env: cleanEnvironment(scratch), cwd: scratch, stdio: ['ignore', 'pipe', 'pipe'] });
		const got = { child, out: '', err: '' };
		child.stdout.on('data', (d) => { got.out += d; });
		child.stderr.on('data', (d) => { got.err += d; });
		got.ended = new Promise((ok) => child.on('close', (code) => ok(code)));
		return got;
	};
	const answers = (out) => out.trim().split('\n').filter(Boolean).map((l) => JSON.parse(l)).filter((m) => !m.method);

	for (const [what, script] of Object.entries({
		'a file to a pipe': '"$@" < in',
		'a file to a file': '"$@" < in > out; code=$?; cat out; exit $code',
		'a pipe to a pipe': 'cat in | "$@" | cat',
		'a pipe to a file': 'cat in | "$@" > out; code=$?; cat out; exit $code',
		'a named pipe': 'mkfifo p; (cat in > p) & "$@" < p',
	}))
		scenario(`works from ${what}`, { connect: false }, async ({ srv, scratch }) => {
			fs.writeFileSync(path.join(scratch, 'in'), SESSION);
			const got = shell(srv, scratch, script);
			assert.equal(await within(got.ended, 9000, 'the end'), 0, got.err);
			const a = answers(got.out);
			assert.deepEqual(a.map((m) => m.id).sort(), ['call', 'init']);
			assert.equal(a.find((m) => m.id === 'call').result.content[0].text, 'piped');
			assert.doesNotMatch(got.err, /Sanitizer|runtime error/);
		});

	scenario('/dev/null as stdin is an end at once', { connect: false }, async ({ srv, scratch }) => {
		const got = shell(srv, scratch, '"$@" < /dev/null');
		assert.equal(await within(got.ended, 5000, 'the end'), 0, got.err);
		assert.equal(got.out, '');
	});

	scenario('/dev/null as stdout loses only what was thrown away', { connect: false }, async ({ srv, scratch }) => {
		fs.writeFileSync(path.join(scratch, 'in'), SESSION);
		const got = shell(srv, scratch, '"$@" < in > /dev/null');
		assert.equal(await within(got.ended, 8000, 'the end'), 0, got.err);
		assert.equal(srv.ran('echo'), 1);
	});

	scenario('closed stdin and stderr are no reason to fail', { connect: false }, async ({ srv, scratch }) => {
		const got = shell(srv, scratch, '"$@" <&- 2>&-');
		const code = await within(got.ended, 5000, 'the end');
		assert.ok(code === 0 || code === 2, `status ${code}`);
		fs.writeFileSync(path.join(scratch, 'in'), SESSION);
		const second = shell(srv, scratch, '"$@" < in 2>&-');
		assert.equal(await within(second.ended, 8000, 'the end'), 0);
		assert.equal(answers(second.out).length, 2);
	});

	scenario('no descriptor that was inherited becomes non-blocking', { connect: false }, async ({ srv, scratch }) => {
		// The shell holds the same open files: their flags are read after a session has passed.
		fs.writeFileSync(path.join(scratch, 'in'), SESSION);
		const got = shell(srv, scratch, 'mkfifo i o e; (cat in; sleep 0.7) > i & cat o > got & cat e > log & exec 3< i 4> o 5> e; "$@" <&3 >&4 2>&5 & pid=$!; while ! grep -q piped got; do sleep 0.05; done; for fd in 3 4 5; do grep flags /proc/$$/fdinfo/$fd; done; wait $pid');
		await within(got.ended, 9000, 'the end');
		const flags = [...got.out.matchAll(/flags:\s+(\d+)/g)].map((m) => parseInt(m[1], 8));
		assert.equal(flags.length, 3, got.out + got.err);
		for (const f of flags) assert.equal(f & 0o4000, 0, `O_NONBLOCK in ${f.toString(8)}`);
	});

	scenario('what the start alone needed is let go in the first quiet moment', {}, async ({ br }) => {
		await br.call('echo', { text: 'before' });
		await until(() => br.status('VmHWM') - br.status('VmRSS') > 2048, 10000, 'less memory than the start took');
		assertText(await br.call('echo', { text: 'after' }), 'after');
	});

	scenario('a client that stops reading stdout while the server sends 50 MB: memory stays bounded and nothing is lost', { server: { respond: 'sse' } }, async ({ srv, br }) => {
		const out = await srv.standing();
		await br.call('echo');
		const before = br.status('VmHWM');
		br.child.stdout.pause();
		const pad = 'x'.repeat(50000), total = 1050;
		let sent = 0;
		const socket = out.exchange.connection.socket;
		const pump = async () => {
			for (; sent < total; sent++) {
				out.event({ data: { jsonrpc: '2.0', method: 'notifications/bulk', params: { n: sent, pad } } });
				if (socket.writableNeedDrain) await new Promise((ok) => { socket.once('drain', ok); socket.once('close', ok); });
			}
		};
		const pumped = pump();
		let stuck = -1;
		await until(async () => { const was = sent; await pause(250); const still = was === sent && sent > 0; if (still) stuck = sent; return still; }, 15000, 'the flow to stop');
		assert.ok(stuck < total, 'the server was never slowed down');
		const grown = br.status('VmHWM') - before;
		assert.ok(grown < (SANITIZED ? 64 : 16) * 1024, `grew by ${grown} kB`);
		const ping = br.request('ping');
		br.child.stdout.resume();
		await within(pumped, 25000, 'the rest of the 50 MB');
		await br.notified('notifications/bulk', total, 25000);
		await ping;
		assert.deepEqual(br.notifications.map((m) => m.params.n), Array.from({ length: total }, (_, i) => i));
		assert.ok(br.notifications.every((m) => m.params.pad.length === pad.length));
		br.notifications.length = 0;
	});

	scenario('a client that does not read for a while gets every answer in the end', {}, async ({ srv, br }) => {
		br.child.stdout.pause();
		const text = 'y'.repeat(20000), calls = Array.from({ length: 300 }, () => br.call('echo', { text }));
		await until(async () => { const was = srv.ran('echo'); await pause(150); return was === srv.ran('echo') && was > 0; }, 9000, 'the flow to stop');
		br.child.stdout.resume();
		for (const c of calls) assert.equal(textOf(await c.get(20000)).length, text.length);
	});

	scenario('a client that reads its last answers some seconds after it closed stdin gets them whole', {}, async ({ srv, br }) => {
		br.child.stdout.pause();
		const text = 'z'.repeat(100000), calls = Array.from({ length: 8 }, () => br.call('echo', { text }));
		await until(() => srv.ran('echo') === calls.length, 5000, 'the calls');
		br.eof();
		await pause(2500);
		br.child.stdout.resume();
		for (const c of calls) assert.equal(textOf(await c).length, text.length);
		assert.equal((await br.exited()).code, 0);
	});

	scenario('SIGTERM after the end of stdin does not wait for a client that does not read', {}, async ({ srv, br }) => {
		br.child.stdout.pause();
		const calls = Array.from({ length: 8 }, () => br.call('echo', { text: 'z'.repeat(100000) }));
		await until(() => srv.ran('echo') === calls.length, 5000, 'the calls');
		br.eof();
		await srv.sees('DELETE');
		br.signal('SIGTERM');
		const gone = new Promise((done) => br.child.on('exit', done));
		assert.equal(await within(gone, 3000, 'the exit'), 143); // five seconds without the signal
		br.child.stdout.destroy();
		br.chunks.length = 0;
		for (const c of calls) br.pending.delete(JSON.stringify(c.id));
	});

	scenario('what can not be sent yet is not read from stdin: a client that pours in 100 MB of calls does not fill the memory', { server: { standing: false } }, async ({ srv, br }) => {
		await br.call('echo');
		const before = br.status('VmHWM'), pad = 'p'.repeat(50000), total = 2000;
		const held = [];
		const rule = srv.when('tools/call', (e) => { held.push(e); });
		const calls = Array.from({ length: total }, (_, i) => br.call('echo', { text: `n${i}`, pad }));
		await until(async () => { const was = held.length; await pause(300); return was === held.length && was > 0; }, 12000, 'the flow to stop');
		assert.ok(held.length < total, 'every call was sent at once');
		const grown = br.status('VmHWM') - before;
		assert.ok(grown < (SANITIZED ? 120 : 40) * 1024, `grew by ${grown} kB`);
		rule.left = 0;
		for (const e of held) srv.serve(e);
		for (const [i, c] of calls.entries()) assert.equal(textOf(await c.get(30000)), `n${i}`);
	});

	scenario('a full disk behind stdout is a failure that is told', { connect: false }, async ({ srv, scratch }) => {
		fs.writeFileSync(path.join(scratch, 'in'), SESSION);
		const got = shell(srv, scratch, '"$@" --silent < in > /dev/full');
		assert.equal(await within(got.ended, 8000, 'the end'), 1);
		assert.match(got.err, /can not write to stdout \(No space left on device\)/);
	});

	scenario('a stderr that nobody reads at trace level holds nothing up', { defaults: ['--log-level', 'trace'], stdio: ['pipe', 'pipe', 'pipe'], before: ({ br }) => { br.child.stderr.pause(); } }, async ({ br }) => {
		const text = 'z'.repeat(3000);
		for (let i = 0; i < 400; i++) assert.equal(textOf(await br.call('echo', { text })), text);
		br.child.stderr.resume();
	});

	scenario('a stderr that was closed holds nothing up', { defaults: ['--log-level', 'trace'], before: ({ br }) => { br.child.stderr.destroy(); } }, async ({ srv, br }) => {
		for (let i = 0; i < 20; i++) await br.call('echo');
		srv.cut();
		assertResult(await br.request('tools/list'));
		await never(() => !br.alive, 100, 'the end');
	});

	// The first line of the log comes before anything is open, the last one when all is closed.
	scenario('a stderr that was closed before the start takes no warning, and is no reason to fail', { connect: false }, async ({ srv, scratch }) => {
		fs.writeFileSync(path.join(scratch, 'in'), SESSION);
		const got = shell(srv, scratch, 'mkfifo e; exec 3<> e 4> e 3<&-; "$@" --header "Authorization: Bearer key-in-the-open-1" < in 2>&4');
		assert.equal(await within(got.ended, 8000, 'the end'), 0);
		assert.equal(answers(got.out).length, 2);
	});

	scenario('a limit of file size that the first warning meets is no reason to fail', { connect: false }, async ({ srv, scratch }) => {
		fs.writeFileSync(path.join(scratch, 'in'), SESSION);
		const got = shell(srv, scratch, 'ulimit -f 0; "$@" --header "Authorization: Bearer key-in-the-open-1" --log-file log < in');
		assert.equal(await within(got.ended, 8000, 'the end'), 0);
		assert.equal(answers(got.out).length, 2);
	});
});

describe('a name server that never answers', { concurrency: 1 }, () => {
	scenario('does not freeze the loop: a ping is answered within 100 ms and SIGTERM ends it within 1 s', { server: false, connect: false, url: () => 'http://never.invalid/mcp', env: ({ scratch }) => ({ LD_PRELOAD: stuckResolver(scratch), ...(SANITIZED && { ASAN_OPTIONS: `verify_asan_link_order=0:${process.env.ASAN_OPTIONS ?? ''}` }) }), args: ['--allow-http', '--connect-timeout', '20s'] }, async ({ br, scratch }) => {
		const init = br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } });
		await until(() => fs.existsSync(path.join(scratch, 'resolving')), 5000, 'the resolver asked');
		for (let i = 0; i < 5; i++) {
			const ping = await br.request('ping');
			assert.deepEqual(ping.result, {});
			assert.ok(ping.ms < 100 * (SANITIZED ? 3 : 1), `ping after ${ping.ms} ms`);
		}
		br.signal('SIGTERM');
		const end = await br.exited();
		assert.ok(end.ms < 1000 * (SANITIZED ? 2 : 1), `SIGTERM took ${end.ms} ms`);
		assert.equal(end.code, 143);
		assert.equal(init.answers, 1);
	});
});

/** A getaddrinfo() that never returns: the library to preload. */
function stuckResolver(scratch) {
	const source = path.join(scratch, 'stuck.c'), library = path.join(scratch, 'stuck.so');
	fs.writeFileSync(source, `#define _GNU_SOURCE
#include <fcntl.h>
#include <netdb.h>
#include <unistd.h>
int getaddrinfo(const char *n, const char *s, const struct addrinfo *h, struct addrinfo **r)
{
	(void)n; (void)s; (void)h; (void)r;
	close(open("${path.join(scratch, 'resolving')}", O_CREAT | O_WRONLY, 0600));
	for (;;)
		pause();
}
`);
	execFileSync(process.env.CC ?? 'cc', ['-shared', '-fPIC', '-o', library, source]);
	return library;
}
