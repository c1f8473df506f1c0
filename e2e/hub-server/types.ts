/** What the Hub look-alike takes and tells. Everything here is plain data, so that a page can send it through `/-/` as JSON. */

import type { RepositoryContent } from './repositories.js'

/** Which requests a fault is for. All the given fields must match. */
interface FaultMatch {
  /** `hub` answers the API and `resolve`, `cdn` is the second origin, `static` a plain host without an API. */
  readonly host?: HostName
  /** Found anywhere in the request's path; for `cdn` also in the repository's path of the file. */
  readonly path?: string
  /** First byte asked for. A request without `Range` has 0. */
  readonly begin?: number
  /** Only requests that ask for the byte at this offset. */
  readonly covers?: number
}

/** One scripted misbehaviour. It is used up after `times` requests (default: never). */
export interface Fault {
  readonly match?: FaultMatch
  /** Requests that match but are left alone before the fault begins. Default 0. */
  readonly skip?: number
  readonly times?: number
  /** Answer with this status and no content. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Answer 200 with the whole file. */
  readonly ignoreRange?: boolean
  /** `missing`, or the header's value, instead of the true Content-Range. */
  readonly contentRange?: string
  /** The length is announced, and the connection closed after so many bytes of the body. */
  readonly cutAfter?: number
  /** No length is announced, and the body ends in good form after so many bytes. */
  readonly endAfter?: number
  /** Silence after so many bytes, the connection open. */
  readonly stallAfter?: number
  /** The body goes out gzipped, and says so. */
  readonly gzip?: boolean
  /** The byte at this offset of the file is inverted. */
  readonly flipByteAt?: number
  /** The bytes of the file are sent this many places later than they should be. */
  readonly shiftBytes?: number
  /** The signed address counts as expired. */
  readonly expired?: boolean
  /** Milliseconds before the answer begins. */
  readonly delayMs?: number
}

/** How the server behaves for now. */
export interface Faults {
  readonly rules?: readonly Fault[]
  /** Bytes per second for each response body. Default: as fast as it goes. */
  readonly bytesPerSecond?: number
  /** Bytes per second for all response bodies together, as a line has them. Default: as fast as it goes. */
  readonly lineBytesPerSecond?: number
  /** Milliseconds before each answer. Default 0. */
  readonly latencyMs?: number
  /** How long a signed address is good. Default 3600. */
  readonly urlSeconds?: number
  /** The host without an API answers what it does not have with a web page of this type, as sites of one page do: 200, never 404. */
  readonly pageForAll?: string
  /** The second origin and the host without an API let other origins read what they have, and not that they refuse or have something not. */
  readonly bareErrors?: boolean
}

export type HostName = 'hub' | 'cdn' | 'static'

/** One request as it was answered. */
export interface LogEntry {
  readonly host: HostName
  readonly kind: 'revision' | 'tree' | 'resolve' | 'file' | 'preflight' | 'other'
  readonly method: string
  /** Path without query. */
  readonly path: string
  /** The query, with its question mark; empty without one. */
  readonly query: string
  /** For a file of a repository: its path there. */
  readonly file?: string
  readonly range?: string
  /** Whether the request carried an `Authorization` header. */
  readonly authorized: boolean
  /** Milliseconds since the server started. */
  readonly time: number
  /** Requests for the same file's content being answered when this one came, itself included. */
  readonly concurrency: number
  /** 0 until answered. */
  status: number
  /** Bytes of the body handed to the connection so far. */
  bytes: number
  /** Milliseconds since the server started; absent while it goes on. */
  end?: number
  /** The connection closed before the body was out. */
  aborted: boolean
}

export interface HubServerOptions {
  /** A folder that holds `owner/name` folders. */
  readonly root?: string
  /** Repositories by id: a folder's path, or files by path. */
  readonly repositories?: Readonly<Record<string, RepositoryContent>>
  /** Repository id → the token that opens it. */
  readonly gated?: Readonly<Record<string, string>>
  /** Path under which the Hub's origin has all that a Hub has, as a mirror may: `/mirrors/hub`. Default: none. */
  readonly basePath?: string
  /** Port of the Hub's origin. Default: any free one. The second origin always takes a free one. */
  readonly port?: number
  readonly faults?: Faults
  /** Key and certificate in PEM: then both origins speak HTTP/2. */
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Entries in one page of the tree API. Default 1000, as on the live Hub. */
  readonly pageSize?: number
}

export interface HubServer {
  /** The endpoint, such as `http://127.0.0.1:4321`, with the base path. */
  readonly url: string
  /** The second origin that files of any size are redirected to. */
  readonly cdnUrl: string
  readonly log: readonly LogEntry[]
  /** Base URL of a repository's files on a host that has no API. */
  staticUrl(repository: string): string
  /** The commit that `main` stands at. */
  commit(repository: string): Promise<string>
  /** Moves `main` to new content. Files of the older commit stay. */
  setRepository(repository: string, content: RepositoryContent): void
  setFaults(faults: Faults): void
  clearLog(): void
  /** Cuts every connection at once. */
  dropConnections(): void
  close(): Promise<void>
}
