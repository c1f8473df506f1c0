/** The options, faults and log of the test server. Faults and log are plain data, so that a page can send them through `/-/` as JSON. */

import type { RepositoryContent } from './repositories.js'

/** The requests that a fault applies to. All given fields must match. */
interface FaultMatch {
  /** `hub`: the API and `resolve`; `cdn`: the second origin; `static`: a plain web server without an API. */
  readonly host?: HostName
  /** A text anywhere in the request's path; for `cdn` also in the file's path in its repository. */
  readonly path?: string
  /** The first requested byte; 0 for a request without `Range`. */
  readonly begin?: number
  /** A byte offset that the request includes. */
  readonly covers?: number
}

/** One fault. It ends after `times` requests (default: never). */
export interface Fault {
  readonly match?: FaultMatch
  /** Number of matching requests that are answered well before the fault begins. Default 0. */
  readonly skip?: number
  readonly times?: number
  /** Answer with this status and no content. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Answer 200 with the whole file. */
  readonly ignoreRange?: boolean
  /** `missing`, or the header's value, instead of the true Content-Range. */
  readonly contentRange?: string
  /** Announce the length, and close the connection after this many bytes of the body. */
  readonly cutAfter?: number
  /** Announce no length, and end the body properly after this many bytes. */
  readonly endAfter?: number
  /** Send nothing more after this many bytes, and keep the connection open. */
  readonly stallAfter?: number
  /** Compress the body with gzip, with a Content-Encoding header. */
  readonly gzip?: boolean
  /** Invert the byte at this offset of the file. */
  readonly flipByteAt?: number
  /** Send the bytes of the file shifted by this many bytes. */
  readonly shiftBytes?: number
  /** Treat the signed address as expired. */
  readonly expired?: boolean
  /** Milliseconds before the answer begins. */
  readonly delayMs?: number
}

/** How the server behaves. */
export interface Faults {
  readonly rules?: readonly Fault[]
  /** Bytes per second for each response body. Default: no limit. */
  readonly bytesPerSecond?: number
  /** Bytes per second for all response bodies together, like a network line. Default: no limit. */
  readonly lineBytesPerSecond?: number
  /** Milliseconds before each answer. Default 0. */
  readonly latencyMs?: number
  /** Seconds for which a signed address is valid. Default 3600. */
  readonly urlSeconds?: number
  /** The plain web server answers a missing file with status 200 and a page of this type, as single-page applications do, never with 404. */
  readonly pageForAll?: string
  /** The second origin and the plain web server omit the CORS header from 403 (expired) and 404, so other origins cannot read these. */
  readonly bareErrors?: boolean
}

export type HostName = 'hub' | 'cdn' | 'static'

/** One logged request and its answer. */
export interface LogEntry {
  readonly host: HostName
  readonly kind: 'revision' | 'tree' | 'resolve' | 'file' | 'preflight' | 'other'
  readonly method: string
  /** Path without query. */
  readonly path: string
  /** The query with its question mark; empty when there is none. */
  readonly query: string
  /** The requested file's path in its repository; absent if no file was requested. */
  readonly file?: string
  readonly range?: string
  /** Whether the request carried an `Authorization` header. */
  readonly authorized: boolean
  /** Milliseconds since the server started. */
  readonly time: number
  /** Number of requests for the same file's content in progress when this one arrived, including itself. */
  readonly concurrency: number
  /** HTTP status; 0 until the request is answered. */
  status: number
  /** Bytes of the body that were handed to the connection so far. */
  bytes: number
  /** When the response ended, in milliseconds since the server started; absent until then. */
  end?: number
  /** Whether the connection closed before the whole body was sent. */
  aborted: boolean
}

export interface HubServerOptions {
  /** A folder with `owner/name` folders in it. */
  readonly root?: string
  /** Repositories by id: a folder's path, or files by path. */
  readonly repositories?: Readonly<Record<string, RepositoryContent>>
  /** Repository id → the access token that opens it. */
  readonly gated?: Readonly<Record<string, string>>
  /** Path of the Hub on its origin, as a mirror may have one: `/mirrors/hub`. Default: none. */
  readonly basePath?: string
  /** Port of the Hub's origin. Default: any free port. The second origin always uses a free port. */
  readonly port?: number
  readonly faults?: Faults
  /** Key and certificate in PEM. With them both origins use HTTP/2. */
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Entries in one page of the tree API. Default 1000, as on the live Hub. */
  readonly pageSize?: number
}

export interface HubServer {
  /** The endpoint, such as `http://127.0.0.1:4321`, with the base path. */
  readonly url: string
  /** The second origin, to which the Hub redirects requests for LFS files. */
  readonly cdnUrl: string
  readonly log: readonly LogEntry[]
  /** Base URL of a repository's files on the plain web server without an API. */
  staticUrl(repository: string): string
  /** The commit of `main`. */
  commit(repository: string): Promise<string>
  /** Moves `main` to new content. The files of older commits stay. */
  setRepository(repository: string, content: RepositoryContent): void
  setFaults(faults: Faults): void
  clearLog(): void
  /** Closes every connection at once. */
  dropConnections(): void
  close(): Promise<void>
}
