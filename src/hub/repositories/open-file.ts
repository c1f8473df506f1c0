/** Opens one file by what a caller passes: an address on the Hub as people copy it, any other URL, or a file from the user's disk. */

import { InputError } from '../../errors.js'
import { cleanReference } from '../../util/clean-reference.js'
import type { Hub } from '../hub.js'
import { checkBaseUrl, isRepositoryId, isSafePath } from '../names.js'
import { FolderRepository } from './folder-repository.js'
import type { OpenRepository } from '../types.js'
import { openRepository, type OpenRepositoryOptions } from './open-repository.js'
import { UrlFile } from './url-file.js'

/** A file and the repository that it is read through. */
export interface RepositoryFileSource {
  readonly repository: OpenRepository
  readonly path: string
}

/**
 * Opens a file. `https://huggingface.co/owner/name/blob/main/model.safetensors`, and the same with `resolve`, are read through the Hub's
 * API, which gives the file's hash; a token goes to the Hub only.
 * @throws InputError `bad-url`, `bad-token`; HubError
 */
export async function openFile(
  hub: Hub,
  file: string | File,
  options: OpenRepositoryOptions = {},
): Promise<RepositoryFileSource> {
  if (typeof file !== 'string') return { repository: FolderRepository.fromFiles([file]), path: file.name }
  const url = checkFileUrl(file, options.baseUrl)
  const named = parseHubFile(url, checkBaseUrl(options.endpoint ?? 'https://huggingface.co'))
  if (named === undefined) {
    const repository = new UrlFile(hub, url.href, { revalidate: options.revalidate ?? false })
    return { repository, path: repository.path }
  }
  const { id, revision, path } = named
  return { repository: await openRepository(hub, id, { ...options, revision: options.revision ?? revision }), path }
}

/** The file names of a component's weights in diffusers' layout. An address with such a name means the folder that the file is in. */
const folderWeights = /^(?:diffusion_pytorch_model|pytorch_model|model)(?:\.[\w-]+)?(?:-\d{5}-of-\d{5})?\.safetensors$/

/**
 * Whether a text is the address of a checkpoint in one file: a URL or a path that ends in `.safetensors`, `.gguf` or `.ckpt`, or a download link of
 * Civitai. The address of weights in a folder of diffusers' layout, such as `unet/diffusion_pytorch_model.safetensors`, is not. Pure.
 */
export function isSingleFileAddress(text: string): boolean {
  const address = cleanReference(text)
  if (/^https?:\/\/(?:www\.)?civitai\.\w+\/api\/download\/models\/\d+/i.test(address)) return true
  if (!/^(?:https?:\/\/|\.{0,2}\/|(?:www\.)?(?:huggingface\.co|hf\.co)\/)/i.test(address)) return false
  const name =
    address
      .replace(/[?#].*$/s, '')
      .split('/')
      .at(-1) ?? ''
  return /\.(?:safetensors|gguf|ckpt)$/i.test(name) && !folderWeights.test(name)
}

/** The http(s) URL of a file. `value` may be relative to `base` or begin with `huggingface.co/` or `hf.co`. @throws InputError `bad-url` */
function checkFileUrl(value: string, base: string | undefined): URL {
  const text = cleanReference(value)
  const isHost = /^(?:www\.)?(?:huggingface\.co|hf\.co)\//.test(text)
  const address = isHost ? `https://${text}` : text
  const url = URL.canParse(address, base) ? new URL(address, base) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new InputError(
      'bad-url',
      `${JSON.stringify(text.slice(0, 200))} is not the URL of a file. Allowed are http and https URLs without a user name.`,
      { url: text.slice(0, 200).replace(/[?#].*$/s, '') },
    )
  return url
}

interface HubFile {
  readonly id: string
  readonly revision: string
  readonly path: string
}

/** What the address of a file on the Hub names. Undefined for any other address. A slash in the revision must be written as `%2F`. */
function parseHubFile(url: URL, endpoint: string): HubFile | undefined {
  const host = new URL(endpoint)
  const isHub =
    url.host === host.host || (host.host === 'huggingface.co' && /^(?:www\.huggingface\.co|(?:www\.)?hf\.co)$/.test(url.host))
  if (!isHub) return undefined
  const [owner = '', name = '', kind = '', revision = '', ...rest] = url.pathname.slice(host.pathname.length).split('/')
  const [id, path] = [`${owner}/${name}`, rest.map(decode).join('/')]
  if (!/^(?:blob|resolve|raw)$/.test(kind) || !isRepositoryId(id) || !isSafePath(path)) return undefined
  return { id, revision: decode(revision), path }
}

/** @throws InputError `bad-url` */
function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch (error) {
    throw new InputError(
      'bad-url',
      `The URL has ${JSON.stringify(part.slice(0, 200))}, which is not valid percent-encoding.`,
      {},
      error,
    )
  }
}
