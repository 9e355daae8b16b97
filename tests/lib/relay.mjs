// A TCP relay that ruins connections: it passes bytes both ways and ends each
// connection after a random while by FIN, RST or silence, in turn. `onRequest`
// and `onResponse` see the bytes that pass, for tests that count at the wire.
import net from 'node:net';

export class Relay {
	/** options: port of the server; every [min, max] ms; kinds; random() in [0, 1). */
	constructor({ target, every = [1000, 3000], kinds = ['fin', 'reset', 'silence'], random = Math.random }) {
		Object.assign(this, { target, every, kinds, random, cuts: [], pairs: new Set(), turn: 0, cutting: true });
	}
	static async start(options) {
		const r = new Relay(options);
		r.listener = net.createServer({ allowHalfOpen: true }, (c) => r.#take(c));
		await new Promise((ok) => r.listener.listen(0, '127.0.0.1', ok));
		r.port = r.listener.address().port;
		return r;
	}
	#take(client) {
		const server = net.connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true });
		const pair = { client, server, silent: false, requestBytes: [] };
		this.pairs.add(pair);
		client.setNoDelay(true);
		server.setNoDelay(true);
		const over = () => { clearTimeout(pair.timer); client.destroy(); server.destroy(); this.pairs.delete(pair); };
		for (const s of [client, server]) { s.on('error', over); s.on('close', over); }
		client.on('data', (d) => { if (pair.silent) return; this.onRequest?.(d, pair); server.write(d); });
		server.on('data', (d) => { if (pair.silent) return; this.onResponse?.(d, pair); client.write(d); });
		client.on('end', () => { if (!pair.silent) server.end(); else over(); });
		server.on('end', () => { if (!pair.silent) client.end(); });
		const [min, max] = this.every;
		pair.timer = setTimeout(() => this.#cut(pair), min + this.random() * (max - min));
	}
	#cut(pair) {
		if (!this.cutting || !this.pairs.has(pair)) return;
		const kind = this.kinds[this.turn++ % this.kinds.length];
		this.cuts.push({ kind, at: performance.now() });
		this.onCut?.(kind);
		if (kind === 'silence') { pair.silent = true; return; } // neither side is told, until one gives up
		this.pairs.delete(pair);
		if (kind === 'reset') pair.client.resetAndDestroy(); else pair.client.destroy();
		pair.server.destroy();
	}
	/** Lets connections live from now on. */
	calm() { this.cutting = false; }
	async stop() {
		for (const p of this.pairs) { clearTimeout(p.timer); p.client.destroy(); p.server.destroy(); }
		await new Promise((ok) => this.listener.close(ok));
	}
}
