// Waiting for conditions. Nothing in the tests sleeps in the hope that something
// has happened: it waits for a condition and fails when the deadline passes.
// The one exception is absence, which can only be watched for a bounded time.
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const BINARY = path.resolve(process.env.BRIDGE ?? path.join(ROOT, 'build/mcp-holdfast'));
/** A sanitized binary is several times slower: every deadline is stretched by this. */
export const SANITIZED = /address|undefined|thread|memory/.test(path.dirname(BINARY).slice(ROOT.length));
export const SLOW = SANITIZED ? 3 : 1;

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Resolves with the first truthy value of `condition()`; rejects after `ms`, saying `what` was missing. */
export async function until(condition, ms = 8000, what = String(condition)) {
	const end = performance.now() + ms * SLOW;
	for (;;) {
		const value = await condition();
		if (value) return value;
		if (performance.now() > end) throw new Error(`not within ${ms * SLOW} ms: ${what}`);
		await pause(4);
	}
}

/** Watches for `ms` that `condition()` never becomes true: the proof of an absence. */
export async function never(condition, ms, what = String(condition)) {
	const end = performance.now() + ms;
	do {
		if (await condition()) throw new Error(`happened within ${ms} ms: ${what}`);
		await pause(4);
	} while (performance.now() < end);
}

export async function within(promise, ms, what) {
	let timer;
	const late = new Promise((_, reject) => {
		timer = setTimeout(() => reject(new Error(`not within ${ms * SLOW} ms: ${what}`)), ms * SLOW);
	});
	try {
		return await Promise.race([promise, late]);
	} finally {
		clearTimeout(timer);
	}
}

export const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
