/** Opens a repository by what a caller passes: a Hub id, a URL or a folder. */

import { HubError, InputError, isAquatintError } from '../../errors.js'
import { abortError } from '../../util/abort.js'
import { FolderRepository } from './folder-repository.js'
import { HubRepository } from './hub-repository.js'
import type { Hub } from '../hub.js'
import { checkBaseUrl, checkRevision } from '../names.js'
import { inFolder } from './folder-view.js'
import { parseReference, type NamedRepository } from './parse-reference.js'
import { StaticRepository } from './static-repository.js'
import type { LayoutNames, OpenRepository } from '../types.js'

/** A repository: its Hub id, its address or base URL, a folder that the user picked, or the files of such a folder. */
export type RepositoryReference = string | FileSystemDirectoryHandle | readonly File[]

/** How to open a repository. */
export interface OpenRepositoryOptions {
  /** Branch, tag or commit. Default `main`. */
  readonly revision?: string | undefined
  /** Base URL of the Hub or of a mirror with its API. Default https://huggingface.co. */
  readonly endpoint?: string | undefined
  /** Access token for gated repositories. It stays in memory and goes to `endpoint` only. */
  readonly token?: string | undefined
  /** The base of relative URLs: the page's address. If it is absent, relative URLs are rejected. */
  readonly baseUrl?: string | undefined
  /** Ask the server whether files changed, even when every file that was used is cached. Default false: a cached model needs no request. */
  readonly revalidate?: boolean | undefined
  /** The file names to request from a URL whose host has no files.json. Without `layout`, the files there cannot be listed. */
  readonly layout?: LayoutNames | undefined
  readonly signal?: AbortSignal | undefined
}

const defaultEndpoint = 'https://huggingface.co'

/**
 * Opens a repository at one revision.
 * @throws AbortError, InputError `bad-repository-id`, `bad-revision`, `bad-url`, `bad-token`; HubError `repository-not-found`, `revision-not-found`, `file-not-found`, `gated`, `network` …
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
  const revision = revisionOf(named, options.revision)
  // The token is for the endpoint that the caller set, not for a mirror whose address was pasted.
  const token = named.endpoint === endpoint ? checkToken(options.token) : undefined
  try {
    const repository = await HubRepository.open(
      hub,
      { endpoint: named.endpoint, id: named.id, revision, token, revalidate },
      signal,
    )
    return named.folder === undefined ? repository : await inFolder(repository, named.folder, options.layout)
  } catch (error) {
    throw withSlash(error, named)
  }
}

/**
 * The error for an address such as `owner/name@feature/x`. The message says how to write a revision that has a slash. The address means the folder `x` of
 * the revision `feature`, as in huggingface_hub.
 */
function withSlash(error: unknown, { id, revision, folder }: NamedRepository): unknown {
  if (!isAquatintError(error, 'revision-not-found', 'file-not-found')) return error
  if (revision === undefined || folder === undefined) return error
  const slash = `${id}@${encodeURIComponent(`${revision}/${folder}`)}`
  const advice = `If ${JSON.stringify(`${revision}/${folder}`)} is a branch or tag, write ${slash}.`
  return new HubError(error.code, `${error.message} ${advice}`, error.details, error.cause)
}

/** The revision that the caller requests or the address names. @throws InputError `bad-revision` where both do, and differ */
function revisionOf({ id, revision }: NamedRepository, option: string | undefined): string {
  if (option !== undefined && revision !== undefined && option !== revision)
    throw new InputError(
      'bad-revision',
      `The address of ${id} names the revision ${JSON.stringify(revision)}, and the option revision is ${JSON.stringify(option.slice(0, 200))}. Give one of them.`,
      { address: revision, revision: option.slice(0, 200) },
    )
  return checkRevision(option ?? revision ?? 'main')
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
