// A name server that never answers: getaddrinfo() hangs in a thread of libcurl's.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { Bridge } from '../lib/bridge.mjs';
import { Server } from '../lib/server.mjs';

const HANG = `
#include <netdb.h>
#include <unistd.h>
int getaddrinfo(const char *n, const char *s, const struct addrinfo *h, struct addrinfo **r)
{
	(void)n; (void)s; (void)h; (void)r;
	sleep(30);
	return EAI_AGAIN;
}
`;

const MOVING = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
int getaddrinfo(const char *n, const char *s, const struct addrinfo *h, struct addrinfo **r)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	char at[64] = "";
	FILE *f = fopen(getenv("MOVING"), "r");
	(void)n;
	if (!f || fscanf(f, "%63s", at) != 1)
		return EAI_AGAIN;
	fclose(f);
	return real(at, s, h, r);
}
`;

test('a name server that never answers freezes neither a ping nor the end', async (t) => {
	const dir = mkdtempSync(join(tmpdir(), 'resolver-'));
	t.after(() => rmSync(dir, { recursive: true, force: true }));
	writeFileSync(join(dir, 'hang.c'), HANG);
	execFileSync('cc', ['-shared', '-fPIC', '-o', join(dir, 'hang.so'), join(dir, 'hang.c')]);
	// A sanitizer wants to be the first library; it comes before ours then.
	const asan = /address/.test(process.env.BRIDGE ?? '') ? `${execFileSync('cc', ['-print-file-name=libasan.so']).toString().trim()} ` : '';
	const br = new Bridge(['https://name.invalid/mcp'], { env: { LD_PRELOAD: `${asan}${join(dir, 'hang.so')}` } });
	t.after(() => br.destroy());
	br.request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } });
	const asked = performance.now();
	await br.request('ping');
	assert.ok(performance.now() - asked < 1000, 'the ping was answered at once');
	br.signal('SIGTERM');
	const end = await br.exited(5000);
	assert.ok(end.ms < 2000, `the end came ${end.ms} ms after SIGTERM`);
	assert.equal(end.code, 143);
});

test('a server that has moved under its name is found at the next attempt', async (t) => {
	const dir = mkdtempSync(join(tmpdir(), 'resolver-')), at = join(dir, 'at');
	t.after(() => rmSync(dir, { recursive: true, force: true }));
	writeFileSync(join(dir, 'moving.c'), MOVING);
	execFileSync('cc', ['-shared', '-fPIC', '-o', join(dir, 'moving.so'), join(dir, 'moving.c'), '-ldl']);
	const asan = /address/.test(process.env.BRIDGE ?? '') ? `${execFileSync('cc', ['-print-file-name=libasan.so']).toString().trim()} ` : '';
	const old = await Server.start(), moved = new Server({ host: '127.0.0.2' });
	t.after(async () => { await old.stop(); await moved.stop(); });
	writeFileSync(at, '127.0.0.1');
	const br = new Bridge([`http://name.invalid:${old.port}/mcp`, '--allow-http', '--initial-retry-delay', '100', '--hold-time', '4s'], { env: { MOVING: at, LD_PRELOAD: `${asan}${join(dir, 'moving.so')}` } });
	t.after(() => br.destroy());
	await br.connect();
	await old.stop();
	await moved.listen(old.port);
	writeFileSync(at, '127.0.0.2');
	const answer = await br.request('tools/list');
	assert.ok(answer.result, answer.raw);
});
