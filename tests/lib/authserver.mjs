// An authorization server (OAuth 2.1, RFC 8414, 7591, 9207, 8628) that consents at
// once and misbehaves on demand, and the guard that makes a scripted MCP server
// ask for its tokens. Everything secret it gives out or is given is remembered,
// so that a test can look for it where it must not be.
import http from 'node:http';
import https from 'node:https';
import { createHash, randomBytes } from 'node:crypto';
import { until } from './wait.mjs';

const secretWord = (kind) => `${kind}-${randomBytes(18).toString('base64url')}`;

export class AuthServer {
	/** Options: metadata (members that differ; null removes one), expiresIn, rotate, iss (sent in redirects), pollsUntilConsent, tls (as for https; a client's certificate is noted). */
	constructor(options = {}) {
		this.options = { expiresIn: 3600, rotate: true, iss: true, ...options };
		Object.assign(this, { requests: [], secrets: new Set(), codes: new Map(), access: new Map(), refresh: new Map(), clients: new Map(), rules: [], polls: 0, sockets: new Set() });
	}
	static async start(options) {
		const s = new AuthServer(options);
		const { tls } = s.options, take = (req, res) => s.#take(req, res);
		s.listener = tls ? https.createServer(tls, take) : http.createServer(take);
		s.listener.on('connection', (c) => { s.sockets.add(c); c.on('close', () => s.sockets.delete(c)); });
		await new Promise((ok) => s.listener.listen(0, '127.0.0.1', ok));
		s.origin = `${tls ? 'https' : 'http'}://127.0.0.1:${s.listener.address().port}`;
		return s;
	}
	async stop() {
		for (const c of this.sockets) c.destroy();
		await new Promise((ok) => this.listener.close(ok));
	}
	get issuer() { return this.origin; }

	/** The newest rule whose path begins so answers instead: action(req, res, body, server); false means "not me". */
	when(path, action, times = Infinity) { const r = { path, action, left: times }; this.rules.unshift(r); return r; }
	seen(path) { return this.requests.filter((r) => r.path === path); }
	sees(path, n = 1, ms) { return until(() => this.seen(path).length >= n && this.seen(path), ms, `${n} x ${path} at the authorization server`); }
	grants(type) { return this.seen('/token').filter((r) => r.form.get('grant_type') === type); }
	#secret(kind) { const s = secretWord(kind); this.secrets.add(s); return s; }

	metadata() {
		const m = {
			issuer: this.issuer, authorization_endpoint: `${this.origin}/authorize`, token_endpoint: `${this.origin}/token`, registration_endpoint: `${this.origin}/register`,
			device_authorization_endpoint: `${this.origin}/device`, code_challenge_methods_supported: ['S256'], token_endpoint_auth_methods_supported: ['none', 'client_secret_basic'],
			authorization_response_iss_parameter_supported: this.options.iss, response_types_supported: ['code'], ...this.options.metadata,
		};
		return Object.fromEntries(Object.entries(m).filter(([, v]) => v !== null));
	}

	#take(req, res) {
		const url = new URL(req.url, this.origin), parts = [];
		req.on('data', (d) => parts.push(d));
		req.on('end', () => {
			const body = Buffer.concat(parts).toString();
			const entry = { method: req.method, path: url.pathname, query: url.searchParams, headers: req.headers, body, form: new URLSearchParams(body), at: performance.now(), certificate: req.socket.getPeerCertificate?.()?.subject };
			this.requests.push(entry);
			for (const name of ['code_verifier', 'refresh_token', 'client_secret', 'code', 'device_code', 'assertion']) if (entry.form.get(name)) this.secrets.add(entry.form.get(name));
			for (const rule of this.rules) {
				if (rule.left <= 0 || !url.pathname.startsWith(rule.path)) continue;
				rule.left--;
				if (rule.action(req, res, entry, this) !== false) return;
				rule.left++;
			}
			this.#serve(entry, res);
		});
	}
	json(res, value, status = 200) { res.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }); res.end(JSON.stringify(value)); }

	#serve(r, res) {
		if (r.path === '/.well-known/oauth-authorization-server') return this.json(res, this.metadata());
		if (r.path === '/register' && r.method === 'POST') return this.#register(r, res);
		if (r.path === '/authorize') return this.#authorize(r, res);
		if (r.path === '/token' && r.method === 'POST') return this.#token(r, res);
		if (r.path === '/device' && r.method === 'POST') {
			this.deviceCode = this.#secret('device');
			return this.json(res, { device_code: this.deviceCode, user_code: 'ABCD-EFGH', verification_uri: `${this.origin}/go`, expires_in: 60, interval: 1 });
		}
		res.writeHead(404, { 'content-type': 'text/html' });
		res.end('<html>nothing here</html>');
	}
	#register(r, res) {
		const asked = JSON.parse(r.body), id = `client-${this.clients.size + 1}`;
		this.clients.set(id, asked);
		this.json(res, { ...asked, client_id: id }, 201);
	}
	#authorize(r, res) {
		const q = r.query, code = this.#secret('code'), back = new URL(q.get('redirect_uri'));
		this.secrets.add(q.get('state'));
		this.codes.set(code, { challenge: q.get('code_challenge'), client: q.get('client_id'), redirect: q.get('redirect_uri'), scope: q.get('scope') ?? '', resource: q.get('resource') });
		const answer = this.options.refuse ? { error: this.options.refuse } : { code };
		for (const [k, v] of Object.entries({ ...answer, state: q.get('state'), ...(this.options.iss && { iss: this.issuer }), ...this.options.redirect })) if (v !== null) back.searchParams.set(k, v);
		res.writeHead(302, { location: back.href });
		res.end();
	}
	issue(scope, { refresh = true } = {}) {
		const token = this.#secret('access');
		this.access.set(token, { scope, until: Date.now() + this.options.expiresIn * 1000 });
		const answer = { access_token: token, token_type: 'Bearer', expires_in: this.options.expiresIn, scope };
		if (refresh) { answer.refresh_token = this.#secret('refresh'); this.refresh.set(answer.refresh_token, { scope }); }
		return answer;
	}
	#token(r, res) {
		const f = r.form, no = (error, status = 400) => this.json(res, { error }, status);
		switch (f.get('grant_type')) {
		case 'authorization_code': {
			const c = this.codes.get(f.get('code'));
			this.codes.delete(f.get('code'));
			if (!c || c.redirect !== f.get('redirect_uri') || c.client !== f.get('client_id') || c.resource !== f.get('resource')) return no('invalid_grant');
			if (createHash('sha256').update(f.get('code_verifier') ?? '').digest('base64url') !== c.challenge) return no('invalid_grant');
			return this.json(res, this.issue(c.scope));
		}
		case 'refresh_token': {
			const t = this.refresh.get(f.get('refresh_token'));
			if (!t) { this.reused = (this.reused ?? 0) + 1; return no('invalid_grant'); }
			if (this.options.rotate) this.refresh.delete(f.get('refresh_token'));
			return this.json(res, this.issue(t.scope));
		}
		case 'urn:ietf:params:oauth:grant-type:device_code':
			if (f.get('device_code') !== this.deviceCode) return no('invalid_grant');
			return ++this.polls <= (this.options.pollsUntilConsent ?? 1) ? no('authorization_pending') : this.json(res, this.issue(''));
		case 'client_credentials': return this.json(res, this.issue(f.get('scope') ?? '', { refresh: false }));
		default: return no('unsupported_grant_type');
		}
	}
	valid(token) { const t = this.access.get(token); return t && t.until > Date.now() && !t.revoked ? t : undefined; }
	/** Every access token given so far is refused from now on. */
	revokeAll() { for (const t of this.access.values()) t.revoked = true; }
}

/**
 * Makes a scripted MCP server (server.mjs) want the tokens of `as`. options: scopes
 * (scopes_supported), challenge (added to WWW-Authenticate), need(exchange) -> scope
 * that the request wants beyond a valid token, prm (members that differ), accept(token).
 */
export function protect(srv, as, options = {}) {
	const guard = { challenged: 0, tokens: [] };
	const { path } = srv.options, prmPath = `/.well-known/oauth-protected-resource${path}`;
	srv.when((e) => e.path === prmPath, (e) => e.json({ resource: srv.url, authorization_servers: [as.issuer], ...(options.scopes && { scopes_supported: options.scopes }), ...options.prm }));
	srv.when((e) => e.path === path, (e) => {
		const token = /^(?:Bearer|DPoP) (\S+)$/.exec(e.headers.authorization ?? '')?.[1];
		const head = (extra) => ({ 'WWW-Authenticate': `Bearer resource_metadata="${srv.origin}${prmPath}"${extra}` });
		if (token) guard.tokens.push(token);
		const found = token && (options.accept ? options.accept(token) && { scope: '' } : as.valid(token));
		if (!found) { guard.challenged++; e.reply(401, head(`${token ? ', error="invalid_token"' : ''}${options.challenge ?? ''}`), ''); return; }
		const need = options.need?.(e);
		if (need && !found.scope.split(' ').includes(need)) { guard.challenged++; e.reply(403, head(`, error="insufficient_scope", scope="${need}"`), ''); return; }
		return false;
	});
	return guard;
}

/** Visits an address as a browser does: redirects are followed, the last page is given. */
export async function visit(url) {
	for (let hop = 0; hop < 10; hop++) {
		const r = await fetch(url, { redirect: 'manual' });
		const page = await r.text();
		if (r.status < 300 || r.status > 399) return { status: r.status, page, url };
		url = new URL(r.headers.get('location'), url).href;
	}
	throw new Error('too many redirects');
}

export const SHORT = /(http:\/\/127\.0\.0\.1:\d+\/s\/[\w-]+)/;
/** Waits for the n-th sign-in address in the log and visits it. */
export async function signIn(br, n = 1) {
	const all = () => [...br.stderr.matchAll(new RegExp(`sign-in is needed: open ${SHORT.source}`, 'g'))].map((m) => m[1]);
	await until(() => all().length >= n, 8000, `sign-in address number ${n} in the log`);
	return visit(all()[n - 1]);
}
