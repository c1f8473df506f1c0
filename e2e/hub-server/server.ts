/**
 * A test server that looks like the Hugging Face Hub to a browser: the revision and tree API, `resolve` with its cross-origin redirect to
 * signed, expiring addresses on a second port, access tokens, and the CORS headers of the live Hub. Tests can set faults, and it logs every
 * request. It is not part of the product and imports nothing of it.
 */

import { createHmac, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createSecureServer, type Http2SecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { answerControl } from './control.js'
import { takeSnapshot, type RepositoryContent, type ServedFile, type Snapshot } from './repositories.js'
import { parseRange, sendFile, wait } from './send-file.js'
import type { Fault, Faults, HostName, HubServer, HubServerOptions, LogEntry } from './types.js'

const exposed =
  'X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash'

/** Starts the server on two free ports of 127.0.0.1 (or on `port` and a free one). */
export async function startHubServer(options: HubServerOptions = {}): Promise<HubServer> {
  const hub = new LookAlike(options)
  if (options.root !== undefined) {
    for (const owner of await readdir(options.root, { withFileTypes: true })) {
      if (!owner.isDirectory()) continue
      for (const name of await readdir(join(options.root, owner.name), { withFileTypes: true })) {
        if (name.isDirectory()) hub.setRepository(`${owner.name}/${name.name}`, join(options.root, owner.name, name.name))
      }
    }
  }
  await hub.listen(options.port ?? 0)
  return hub
}

type OnHttp2 = (request: Http2ServerRequest, response: Http2ServerResponse) => void

interface StoredRepository {
  readonly snapshots: Map<string, Snapshot>
  main: Promise<Snapshot>
}

class LookAlike implements HubServer {
  readonly log: LogEntry[] = []
  url = ''
  cdnUrl = ''
  readonly #repositories = new Map<string, StoredRepository>()
  readonly #listening: { readonly server: Server | Http2SecureServer; readonly drop: () => void }[] = []
  readonly #secret = randomBytes(32)
  readonly #started = performance.now()
  readonly #options: HubServerOptions
  readonly #active = new Map<string, number>()
  readonly #basePath: string
  #faults: Faults
  #used: number[] = []

  constructor(options: HubServerOptions) {
    this.#options = options
    this.#basePath = options.basePath ?? ''
    this.#faults = options.faults ?? {}
    for (const [id, content] of Object.entries(options.repositories ?? {})) this.setRepository(id, content)
  }

  async listen(port: number): Promise<void> {
    this.url = (await this.#serve(port, (request, response) => this.#answerHub(request, response))) + this.#basePath
    this.cdnUrl = await this.#serve(0, (request, response) => this.#answerCdn(request, response))
  }

  staticUrl(repository: string): string {
    return `${this.url}/static/${repository}/`
  }

  async commit(repository: string): Promise<string> {
    const stored = this.#repositories.get(repository)
    if (stored === undefined) throw new Error(`The look-alike has no ${repository}`)
    return (await stored.main).commit
  }

  setRepository(repository: string, content: RepositoryContent): void {
    const snapshots = this.#repositories.get(repository)?.snapshots ?? new Map<string, Snapshot>()
    const main = takeSnapshot(content).then((snapshot) => {
      snapshots.set(snapshot.commit, snapshot)
      return snapshot
    })
    // A caller that awaits this promise sees the failure. If no caller does, the rejection must not end the process.
    main.catch(() => {})
    this.#repositories.set(repository, { snapshots, main })
  }

  setFaults(faults: Faults): void {
    this.#faults = faults
    this.#used = []
  }

  clearLog(): void {
    this.log.length = 0
  }

  dropConnections(): void {
    for (const { drop } of this.#listening) drop()
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#listening.map(({ server, drop }) => {
        const ended = new Promise<void>((resolve) => server.close(() => resolve()))
        drop()
        return ended
      }),
    )
  }

  async #serve(port: number, answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>): Promise<string> {
    const listener = (request: IncomingMessage, response: ServerResponse) => {
      answer(request, response).catch((error: unknown) => {
        if (response.headersSent) response.destroy()
        else response.writeHead(500, { 'content-type': 'text/plain' }).end(String(error))
      })
    }
    const { tls } = this.#options
    // Node's HTTP/2 requests and responses have the interface of HTTP/1's, but not their types.
    const server = tls === undefined ? createServer(listener) : createSecureServer(tls, listener as unknown as OnHttp2)
    const sockets = new Set<Socket>()
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    this.#listening.push({ server, drop: () => sockets.forEach((socket) => socket.destroy()) })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', resolve)
    })
    return `http${tls === undefined ? '' : 's'}://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  #begin(
    request: IncomingMessage,
    response: ServerResponse,
    host: HostName,
    kind: LogEntry['kind'],
    path: string,
    file?: string,
  ): LogEntry {
    const key = `${host} ${file ?? path}`
    const concurrency = (this.#active.get(key) ?? 0) + 1
    this.#active.set(key, concurrency)
    const entry: LogEntry = {
      host,
      kind,
      method: request.method ?? 'GET',
      path,
      query: /\?.*/s.exec(request.url ?? '')?.[0] ?? '',
      ...(file === undefined ? {} : { file }),
      ...(request.headers.range === undefined ? {} : { range: request.headers.range }),
      authorized: request.headers.authorization !== undefined,
      time: performance.now() - this.#started,
      concurrency,
      status: 0,
      bytes: 0,
      aborted: false,
    }
    this.log.push(entry)
    response.once('close', () => {
      this.#active.set(key, (this.#active.get(key) ?? 1) - 1)
      entry.end = performance.now() - this.#started
      entry.aborted = !response.writableFinished
      if (entry.status === 0) entry.status = response.statusCode
    })
    return entry
  }

  #faultFor(entry: LogEntry, size: number): Fault | undefined {
    const range = parseRange(entry.range, size)
    const begin = range?.begin ?? 0
    const end = range?.end ?? size
    for (const [index, rule] of (this.#faults.rules ?? []).entries()) {
      const match = rule.match ?? {}
      if (match.host !== undefined && match.host !== entry.host) continue
      if (match.path !== undefined && !entry.path.includes(match.path) && entry.file?.includes(match.path) !== true) continue
      if (match.begin !== undefined && match.begin !== begin) continue
      if (match.covers !== undefined && (match.covers < begin || match.covers >= end)) continue
      const used = (this.#used[index] ?? 0) + 1
      const skip = rule.skip ?? 0
      if (used > skip + (rule.times ?? Infinity)) continue
      this.#used[index] = used
      if (used > skip) return rule
    }
    return undefined
  }

  async #answerHub(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url)
    const whole = decodeURIComponent(url.pathname)
    const path = whole.startsWith(this.#basePath) ? whole.slice(this.#basePath.length) : ''
    if (path.startsWith('/-/')) return answerControl(this, request, response, path)
    if (path.startsWith('/static/')) return this.#answerStatic(request, response, path)
    response.setHeader('access-control-allow-origin', request.headers.origin ?? this.url)
    response.setHeader('vary', 'Origin')
    response.setHeader('access-control-expose-headers', exposed)
    if (request.method === 'OPTIONS') return this.#preflight(request, response, 'hub', path)
    const match =
      /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(path) ??
      /^\/([^/]+\/[^/]+)\/(resolve)\/([^/]+)\/(.+)$/.exec(path) ??
      /^\/api\/(resolve-cache)\/models\/([^/]+\/[^/]+)\/([^/]+)\/(.+)$/.exec(path)
    if (match === null)
      return this.#refuse(this.#begin(request, response, 'hub', 'other', path), response, 404, 'NotFound', 'Not found')
    const cached = match[1] === 'resolve-cache'
    const id = (cached ? match[2] : match[1]) ?? ''
    const kind = (cached ? 'file' : match[2]) as LogEntry['kind']
    const entry = this.#begin(request, response, 'hub', kind, path, match[4])
    if (!(await this.#misbehave(entry, response, this.#faultFor(entry, 0)))) return
    const stored = this.#repositories.get(id)
    const token = this.#options.gated?.[id]
    const given = request.headers.authorization?.replace(/^Bearer /, '')
    if (stored === undefined)
      return this.#refuse(entry, response, given === undefined ? 401 : 404, 'RepoNotFound', 'Repository not found')
    if (token !== undefined && given !== token) {
      return this.#refuse(entry, response, given === undefined ? 401 : 403, 'GatedRepo', `Access to model ${id} is restricted.`)
    }
    const snapshot = await this.#snapshot(stored, match[3] ?? '')
    if (snapshot === undefined) return this.#refuse(entry, response, 404, 'RevisionNotFound', `Invalid rev id: ${match[3]}`)
    response.setHeader('x-repo-commit', snapshot.commit)
    if (kind === 'revision') return this.#json(entry, response, { id, modelId: id, sha: snapshot.commit, private: false })
    if (kind === 'tree') return this.#tree(entry, response, url, id, snapshot)
    const file = snapshot.files.find((each) => each.path === match[4])
    if (file === undefined) return this.#refuse(entry, response, 404, 'EntryNotFound', 'Entry not found')
    if (cached) return sendFile(request, response, file, entry, this.#faults, this.#faultFor(entry, file.size))
    return this.#resolve(entry, response, id, snapshot, file)
  }

  async #snapshot(stored: StoredRepository, revision: string): Promise<Snapshot | undefined> {
    const main = await stored.main
    return revision === 'main' ? main : stored.snapshots.get(revision)
  }

  #resolve(entry: LogEntry, response: ServerResponse, id: string, snapshot: Snapshot, file: ServedFile): void {
    entry.status = file.lfs ? 302 : 307
    if (!file.lfs) {
      const location = `${this.#basePath}/api/resolve-cache/models/${id}/${snapshot.commit}/${file.path.split('/').map(encodeURIComponent).join('/')}`
      response.writeHead(307, { location }).end()
      return
    }
    const expires = Math.floor(Date.now() + (this.#faults.urlSeconds ?? 3600) * 1000)
    const path = `/xet-bridge-us/${id}/${snapshot.commit}/${file.sha256}`
    const location = `${this.cdnUrl}${path}?X-Amz-Expires=${expires}&X-Amz-Signature=${this.#sign(path, expires)}`
    response.writeHead(302, { location, 'x-linked-size': file.size, 'x-linked-etag': `"${file.sha256}"` }).end()
  }

  async #answerCdn(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.cdnUrl)
    response.setHeader('access-control-allow-origin', '*')
    response.setHeader('access-control-expose-headers', '*')
    if (request.method === 'OPTIONS') return this.#preflight(request, response, 'cdn', url.pathname)
    const match = /^\/xet-bridge-us\/([^/]+\/[^/]+)\/([0-9a-f]{40})\/([0-9a-f]{64})$/.exec(url.pathname)
    const file = this.#repositories
      .get(match?.[1] ?? '')
      ?.snapshots.get(match?.[2] ?? '')
      ?.files.find((each) => each.sha256 === match?.[3])
    const entry = this.#begin(request, response, 'cdn', 'file', url.pathname, file?.path)
    if (file === undefined) return this.#refuseBare(entry, response, 404, 'NotFound', 'Not found')
    const expires = Number(url.searchParams.get('X-Amz-Expires'))
    const signed = url.searchParams.get('X-Amz-Signature') === this.#sign(url.pathname, expires)
    const fault = this.#faultFor(entry, file.size)
    if (!signed || Date.now() > expires || fault?.expired === true)
      return this.#refuseBare(entry, response, 403, 'AccessDenied', 'Request has expired')
    if (await this.#misbehave(entry, response, fault)) await sendFile(request, response, file, entry, this.#faults, fault)
  }

  /** Answers as a plain web server: files, and no API. */
  async #answerStatic(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
    response.setHeader('access-control-allow-origin', '*')
    response.setHeader('access-control-expose-headers', 'Content-Range, ETag')
    if (request.method === 'OPTIONS') return this.#preflight(request, response, 'static', path)
    const match = /^\/static\/([^/]+\/[^/]+)\/(.+)$/.exec(path)
    const stored = this.#repositories.get(match?.[1] ?? '')
    const file = (await stored?.main)?.files.find((each) => each.path === match?.[2])
    const entry = this.#begin(request, response, 'static', 'file', path, match?.[2])
    const { pageForAll } = this.#faults
    if (file === undefined && pageForAll !== undefined) {
      const body = '<!doctype html><title>Home</title>'
      entry.status = 200
      response.writeHead(200, { 'content-type': pageForAll, 'content-length': body.length })
      response.end(request.method === 'HEAD' ? undefined : body)
      return undefined
    }
    if (file === undefined) return this.#refuseBare(entry, response, 404, 'NotFound', 'Not found')
    const fault = this.#faultFor(entry, file.size)
    if (await this.#misbehave(entry, response, fault)) await sendFile(request, response, file, entry, this.#faults, fault)
  }

  /** Waits, and answers with an error if a fault says so. Returns false if it answered. */
  async #misbehave(entry: LogEntry, response: ServerResponse, fault: Fault | undefined): Promise<boolean> {
    await wait((this.#faults.latencyMs ?? 0) + (fault?.delayMs ?? 0), response)
    if (fault?.status === undefined) return true
    entry.status = fault.status
    response.writeHead(fault.status, fault.headers).end()
    return false
  }

  #tree(entry: LogEntry, response: ServerResponse, url: URL, id: string, snapshot: Snapshot): void {
    const size = this.#options.pageSize ?? 1000
    const from = Number(url.searchParams.get('cursor') ?? 0)
    const folders = new Set(
      snapshot.files.flatMap(({ path }) =>
        path
          .split('/')
          .slice(0, -1)
          .map((_, k, parts) => parts.slice(0, k + 1).join('/')),
      ),
    )
    const listed = [
      ...[...folders].map((path) => ({ type: 'directory', oid: snapshot.commit, size: 0, path })),
      ...snapshot.files.map(({ path, size, oid, lfs, sha256 }) => ({
        type: 'file',
        oid,
        size,
        path,
        ...(lfs ? { lfs: { oid: sha256, size, pointerSize: 134 }, xetHash: sha256 } : {}),
      })),
    ]
    if (from + size < listed.length) {
      response.setHeader(
        'link',
        `<${this.url}/api/models/${id}/tree/${snapshot.commit}?recursive=true&cursor=${from + size}>; rel="next"`,
      )
    }
    this.#json(entry, response, listed.slice(from, from + size))
  }

  #preflight(request: IncomingMessage, response: ServerResponse, host: HostName, path: string): void {
    this.#begin(request, response, host, 'preflight', path)
    const asked = request.headers['access-control-request-headers']
    response.writeHead(204, {
      'access-control-allow-methods': 'GET, HEAD, OPTIONS',
      ...(asked === undefined ? {} : { 'access-control-allow-headers': host === 'cdn' ? '*' : asked }),
      'access-control-max-age': '86400',
    })
    response.end()
  }

  #json(entry: LogEntry, response: ServerResponse, value: unknown): void {
    const body = JSON.stringify(value)
    entry.status = 200
    entry.bytes = Buffer.byteLength(body)
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end(body)
  }

  #refuse(entry: LogEntry, response: ServerResponse, status: number, code: string, message: string): void {
    entry.status = status
    response.setHeader('x-error-code', code)
    response.setHeader('x-error-message', message)
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error: message }))
  }

  /** Answers with an error, which a fault may hide from other origins. */
  #refuseBare(entry: LogEntry, response: ServerResponse, status: number, code: string, message: string): void {
    if (this.#faults.bareErrors === true) response.removeHeader('access-control-allow-origin')
    this.#refuse(entry, response, status, code, message)
  }

  #sign(path: string, expires: number): string {
    return createHmac('sha256', this.#secret).update(`${path}?${expires}`).digest('hex')
  }
}
