/** Opens a repository by what a caller passes: a Hub id, a URL or a folder. */

import { InputError } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import { FolderRepository } from './folder-repository.js'
import { HubRepository } from './hub-repository.js'
import type { Hub } from '../hub.js'
import { checkBaseUrl, checkRepositoryId, checkRevision, isRepositoryId } from '../names.js'
import { StaticRepository } from './static-repository.js'
import type { LayoutNames, Repository } from '../types.js'

/** A repository: its Hub id or base URL, a folder that the user picked, or the files of one. */
export type RepositoryReference = string | FileSystemDirectoryHandle | readonly File[]

/** How to open a repository. */
export interface OpenRepositoryOptions {
  /** Branch, tag or commit. Default `main`. */
  readonly revision?: string | undefined
  /** Base URL of the Hub or of a mirror with its API. Default https://huggingface.co. */
  readonly endpoint?: string | undefined
  /** Access token for gated repositories. It stays in memory and goes to `endpoint` only. */
  readonly token?: string | undefined
  /** The base of relative URLs: the page's address. Without it they are rejected. */
  readonly baseUrl?: string | undefined
  /** Ask the server whether files changed, even when every file that was used is cached. Default false: a cached model needs no request. */
  readonly revalidate?: boolean | undefined
  /** The file names to request from a URL whose host has no files.json. Without it such a URL cannot be opened. */
  readonly layout?: LayoutNames | undefined
  readonly signal?: AbortSignal | undefined
}

/** A repository whose opened files the cache does not evict until it is closed. */
export interface OpenRepository extends Repository {
  /** Makes the next opening ask the host instead of using the cache alone, because the files do not match each other. */
  revalidateOnNextOpen(): Promise<void>
  /** Ends the use of all opened files. */
  close(): void
}

const defaultEndpoint = 'https://huggingface.co'

/**
 * Opens a repository at one revision.
 * @throws AbortError, InputError `bad-repository-id`, `bad-revision`, `bad-url`, `bad-token`; HubError `repository-not-found`, `revision-not-found`, `gated`, `network` …
 */
export async function openRepository(
  hub: Hub,
  reference: RepositoryReference,
  options: OpenRepositoryOptions = {},
): Promise<OpenRepository> {
  const signal = options.signal ?? new AbortController().signal
  try {
    return await open(hub, reference, options, signal)
  } catch (error) {
    throw signal.aborted ? abortError(signal) : error
  }
}

async function open(
  hub: Hub,
  reference: RepositoryReference,
  options: OpenRepositoryOptions,
  signal: AbortSignal,
): Promise<OpenRepository> {
  if (typeof reference !== 'string') {
    return 'kind' in reference ? FolderRepository.fromDirectory(reference, signal) : FolderRepository.fromFiles(reference)
  }
  const endpoint = checkBaseUrl(options.endpoint ?? defaultEndpoint)
  const revalidate = options.revalidate ?? false
  const named = parseReference(reference, endpoint, options.baseUrl)
  if ('base' in named) return StaticRepository.open(hub, named.base, { revalidate, layout: options.layout }, signal)
  const revision = checkRevision(options.revision ?? named.revision ?? 'main')
  return HubRepository.open(hub, { endpoint, id: named.id, revision, token: checkToken(options.token), revalidate }, signal)
}

/** What a string names: a repository on the Hub, or a base URL. */
type Named = { readonly id: string; readonly revision?: string | undefined } | { readonly base: string }

/** Tells whether a string is an id or a URL. The address of a repository's page on `endpoint` counts as its id. */
export function parseReference(reference: string, endpoint: string, baseUrl: string | undefined): Named {
  const isUrl = /^[A-Za-z][A-Za-z0-9+.-]*:/.test(reference) || /^\.{0,2}\//.test(reference)
  if (!isUrl) return { id: checkRepositoryId(reference) }
  const base = checkBaseUrl(reference, baseUrl)
  if (!base.startsWith(endpoint)) return { base }
  const match = /^([^/]+\/[^/]+)\/(?:tree\/(.+)\/)?$/.exec(base.slice(endpoint.length))
  const id = match?.[1]
  if (id === undefined || !isRepositoryId(id)) return { base }
  return { id, revision: match?.[2] === undefined ? undefined : decodeRevision(match[2]) }
}

/** @throws InputError `bad-revision` */
function decodeRevision(encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch (error) {
    throw new InputError(
      'bad-revision',
      `The revision ${JSON.stringify(encoded.slice(0, 200))} in the URL is not valid percent-encoding.`,
      { revision: encoded.slice(0, 200) },
      error,
    )
  }
}

/** Rejects characters that a header cannot hold. No message contains the token. @throws InputError `bad-token` */
function checkToken(token: string | undefined): string | undefined {
  if (token === undefined || /^[\x21-\x7E]{0,512}$/.test(token)) return token
  throw new InputError(
    'bad-token',
    'The access token is not valid: it may have at most 512 characters, all printable ASCII without spaces. Copy it again.',
    { length: token.length },
  )
}
