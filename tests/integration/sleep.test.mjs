// A machine that sleeps: the boot clock runs ahead of the monotonic one, and the
// kernel wakes the loop as after a resume. A library in front of libc tells both.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, scenario, assert, assertResult, goAway, scratchDirectory, until } from '../lib/scenario.mjs';

const SHIM = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
/* Seconds slept so far: the first byte of a file. */
static int slept(void)
{
	static const volatile unsigned char *at;
	if (!at) {
		int fd = open(getenv("SLEPT"), O_RDONLY | O_CLOEXEC);
		void *p = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
		if (p == MAP_FAILED)
			abort();
		at = p;
	}
	return *at;
}
int clock_gettime(clockid_t id, struct timespec *ts)
{
	static int (*real)(clockid_t, struct timespec *);
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int rc = real(id, ts);
	if (rc == 0 && id == CLOCK_BOOTTIME)
		ts->tv_sec += slept();
	return rc;
}
/* What the kernel makes readable after a resume. */
int timerfd_create(int clock, int flags)
{
	(void)clock; (void)flags;
	return open(getenv("WOKEN"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
}
int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	(void)fd; (void)flags; (void)new; (void)old;
	return 0;
}
`;

const dir = scratchDirectory();
process.on('exit', () => fs.rmSync(dir, { recursive: true, force: true }));
fs.writeFileSync(path.join(dir, 'clock.c'), SHIM);
execFileSync('cc', ['-shared', '-fPIC', '-o', path.join(dir, 'clock.so'), path.join(dir, 'clock.c'), '-ldl']);
// A sanitizer wants to be the first library; it comes before ours then.
const asan = /address/.test(process.env.BRIDGE ?? '') ? `${execFileSync('cc', ['-print-file-name=libasan.so']).toString().trim()} ` : '';

function environment({ scratch }) {
	fs.writeFileSync(path.join(scratch, 'slept'), '\0');
	execFileSync('mkfifo', [path.join(scratch, 'woken')]);
	return { LD_PRELOAD: `${asan}${path.join(dir, 'clock.so')}`, SLEPT: path.join(scratch, 'slept'), WOKEN: path.join(scratch, 'woken') };
}
/** The machine sleeps for so many seconds and wakes, while the bridge is at rest: nothing else wakes it. */
async function sleep(br, scratch, seconds) {
	let woken, since;
	await until(() => {
		const now = br.status('voluntary_ctxt_switches');
		if (now !== woken) since = performance.now();
		woken = now;
		return performance.now() - since > 1300;
	}, 15000, 'a bridge at rest');
	fs.writeFileSync(path.join(scratch, 'slept'), Buffer.from([seconds]), { flag: 'r+' });
	fs.writeFileSync(path.join(scratch, 'woken'), Buffer.alloc(8, 1), { flag: 'r+' });
}
const SLOWLY = ['--initial-retry-delay', '10m', '--max-retry-delay', '10m', '--jitter', 'none', '--hold-time', '50s', '--log-level', 'debug'];

describe('a machine that woke', { concurrency: 4 }, () => {
	scenario('ends the backoff at once', { defaults: SLOWLY, env: environment }, async ({ srv, br, scratch }) => {
		const { waiting } = await goAway(srv, br);
		await br.logged(/trying again in \d\d\d?\./);
		await srv.listen(srv.port);
		await sleep(br, scratch, 100);
		assertResult(await waiting);
		assert.match(br.stderr, /the machine slept/);
	});

	scenario('probes at once, and on a connection of its own', { defaults: SLOWLY, server: { standing: false }, env: environment }, async ({ srv, br, scratch }) => {
		assertResult(await br.request('tools/list'));
		const old = new Set(srv.sockets);
		assert.ok(old.size > 0);
		await sleep(br, scratch, 100);
		const [ping] = await srv.sees('ping');
		assert.ok(!old.has(ping.connection.socket), 'the ping came on a connection from before the sleep');
		await until(() => [...old].every((s) => s.destroyed), 8000, 'the pooled connections are closed');
		assertResult(await br.request('tools/list'));
	});

	scenario('finds a dead stream of 2024-11-05 by it', { defaults: [...SLOWLY, '--request-timeout', '4s'], server: { mode: 'sse' }, env: environment }, async ({ srv, br, scratch }) => {
		const out = await srv.standing();
		srv.first('ping', (ex) => ex.reply(202));
		await sleep(br, scratch, 100);
		await until(() => srv.seen('GET').length === 2, 8000, 'another stream');
		assert.ok(!out.open);
		assertResult(await br.request('tools/list'));
	});

	scenario('takes a small step of the clock for no sleep', { defaults: SLOWLY, server: { standing: false }, env: environment }, async ({ srv, br, scratch }) => {
		await sleep(br, scratch, 2);
		assertResult(await br.request('tools/list'));
		assert.equal(srv.seen('ping').length, 0);
		assert.doesNotMatch(br.stderr, /slept/);
	});
});
