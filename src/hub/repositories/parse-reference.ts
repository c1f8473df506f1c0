/**
 * Decides what a string names, as people type it or paste it from a browser: a repository of the Hub (an id, or the address of any of its
 * pages), or the base URL of a folder on a plain web server. The page, the custom element, `fromPretrained` and the CLI use it. Pure.
 */

import { InputError } from '../../errors.js'
import { checkBaseUrl, checkRevision, isRepositoryId, stripQuery } from '../names.js'
import { cleanReference } from '../../util/clean-reference.js'

/** A repository on a Hub. */
export interface NamedRepository {
  /** `owner/name`. */
  readonly id: string
  /** Base URL of the Hub with a slash at its end: the one that the caller set, or the mirror that the address belongs to. */
  readonly endpoint: string
  /** The branch, tag or commit that the address names. */
  readonly revision: string | undefined
  /** The folder inside the repository that the address names, without a slash at its end. */
  readonly folder: string | undefined
}

/** A repository on a Hub, or the base URL of files on a web server. */
export type Named = NamedRepository | { readonly base: string }

/** The hosts of the Hub, without `www.`. */
const hubHosts = new Set(['huggingface.co', 'huggingface.com', 'hf.co'])
/** Public mirrors of the Hub with its API and its addresses. */
const mirrorHosts = new Set(['hf-mirror.com'])

/** Path segments after which an address has a revision, as in `owner/name/tree/main`. */
const viewsWithRevision = new Set(['tree', 'blob', 'resolve', 'raw', 'blame', 'commits', 'commit', 'edit', 'delete', 'upload'])
/** The names in {@link viewsWithRevision} whose pages are about one file: the rest of the address is a path that ends in a file's name. */
const viewsOfFiles = new Set(['blob', 'resolve', 'raw', 'blame', 'edit', 'delete'])

/** First parts of the Hub's addresses that are not the owner of a model. */
const notModels: Readonly<Record<string, string>> = {
  datasets: 'a data set',
  spaces: 'a Space',
  collections: 'a collection',
  papers: 'a paper',
  blog: 'an article',
  docs: 'a page of the documentation',
  models: 'a list of models',
  settings: 'a page of settings',
  organizations: 'an organization',
  learn: 'a course',
  posts: 'a post',
  tasks: 'a page about a task',
  chat: 'a chat',
}

/** Hosts and paths that serve no folder of files that another page can read, each with the words of the error. */
const sites: readonly (readonly [RegExp, string])[] = [
  [/^[^/]+\.hf\.space\b/, 'is a Space'],
  [/^(?:cdn-lfs[\w-]*\.(?:huggingface\.co|hf\.co)|[^/]+\.xethub\.hf\.co)\b/, 'is the address of one stored file, which expires'],
  [/^(?:[^/]+\.)?github\.com\b(?!.*\/(?:raw|releases)\/)/, 'is a page of GitHub, which lets no other page read its files'],
  [/^(?:[^/]+\.)?civitai\.\w+\b(?!\/api\/)/, 'is a page of Civitai, not a folder of files'],
  [/^(?:[^/]+\.)?modelscope\.\w+\b/, "is a page of ModelScope, which does not have the Hub's interface"],
  [/^(?:[^/]+\.)?kaggle\.com\b/, 'is a page of Kaggle, not a folder of files'],
  [/^(?:drive|docs)\.google\.com\b/, 'is a page of Google Drive, which lets no other page read its files'],
]

/** The files by which a folder is recognized. The address of such a file means its folder. */
const folderFiles =
  /\/(?:model_index\.json|files\.json|config\.json|index\.html?|[\w.-]+\.safetensors\.index(?:\.[\w-]+)?\.json)$/
/** Extensions of the files of checkpoints. Names of folders do not end in one. */
const modelFile = /\.(?:json|safetensors|gguf|md|txt|bin|ckpt)$/i
const weightFile = /\.(?:safetensors|ckpt|bin|pth?|gguf|onnx)$/i

/**
 * @param endpoint base URL of the Hub with a slash at its end
 * @param baseUrl what relative paths start from; without it they are rejected
 * @throws InputError `bad-repository-id`, `bad-revision`, `bad-url`
 */
export function parseReference(reference: string, endpoint: string, baseUrl?: string): Named {
  const text = cleanReference(reference)
  if (/^(?:[A-Za-z]:[\\/]|\\\\|~[\\/]|file:)|^\.{0,2}\\/.test(text)) throw onDisk(text)
  if (/^\.{0,2}\/|^\.{1,2}$/.test(text)) return { base: checkBaseUrl(folderOf(text), baseUrl) }
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(text)) return parseUrl(text, endpoint)
  if (/^(?:data|blob|javascript|about):/i.test(text)) throw badUrl(text, 'holds no folder of files')
  if (/^[\w.-]+:\d+(?:\/|$)/.test(text)) throw badUrl(text, 'has no scheme: begin it with "http://" or "https://"')
  const host = text.slice(0, text.indexOf('/')).toLowerCase()
  if (isHub(host, endpoint)) return parseUrl(`https://${text}`, endpoint)
  return parseHubPath(stripQuery(text), { endpoint, text, isPage: false })
}

function parseUrl(text: string, endpoint: string): Named {
  const hf = /^hf:\/\/(?:models\/)?(.*)$/is.exec(stripQuery(text))?.[1]
  if (hf !== undefined) return parseHubPath(hf, { endpoint, text, isPage: false, hasPath: true })
  const url = new URL(checkBaseUrl(text))
  const path = url.pathname.replace(/\/$/, '')
  const hub = new URL(endpoint)
  if (plainHost(url) === plainHost(hub) && `${path}/`.startsWith(hub.pathname)) {
    const rest = path.slice(hub.pathname.length)
    // A host that the caller set may serve plain folders of files beside the Hub's addresses.
    if (hubHosts.has(plainHost(url)) || isRepositoryPath(rest)) return parseHubPath(rest, { endpoint, text, isPage: true })
  } else if (hubHosts.has(plainHost(url))) return parseHubPath(path.slice(1), { endpoint, text, isPage: true })
  else if (mirrorHosts.has(plainHost(url)))
    return parseHubPath(path.slice(1), { endpoint: `https://${plainHost(url)}/`, text, isPage: true })
  if (plainHost(url) === 'api-inference.huggingface.co')
    return parseHubPath(path.replace(/^\/models\//, ''), { endpoint, text, isPage: true })
  const site = sites.find(([address]) => address.test(plainHost(url) + path))?.[1]
  if (site !== undefined)
    throw badUrl(
      text,
      `${site}. Give a model of the Hub, written as owner/name, or the address of a folder with a model_index.json`,
    )
  if (weightFile.test(path)) throw badUrl(text, "is the address of one file; give the address of the folder in diffusers' layout")
  return { base: checkBaseUrl(folderOf(url.origin + path)) }
}

/** Whether a path has the form of a repository's address on the Hub: `owner/name`, a page with a revision, or an API path. */
function isRepositoryPath(path: string): boolean {
  const [owner = '', name = '', view] = path.split('/')
  const known = view === undefined || viewsWithRevision.has(view) || owner === 'api'
  return known && (owner === 'api' || isRepositoryId(`${owner}/${name.replace(/\.git$|@.*$/s, '')}`))
}

interface HubPath {
  readonly endpoint: string
  /** The whole text, for errors. */
  readonly text: string
  /** Whether the path is that of a page of the Hub: a page's name such as `discussions` may then follow `owner/name`. */
  readonly isPage: boolean
  /** Whether what follows the name is a path inside the repository, as in `hf://owner/name/unet`. */
  readonly hasPath?: true
}

/** @param path what follows the Hub's host, or an id */
function parseHubPath(path: string, page: HubPath): NamedRepository {
  const named = withoutQuery(path, page)
  const revision = new URLSearchParams(/\?([^#]*)/.exec(page.text)?.[1]).get('revision') ?? ''
  if (revision === '' || revision === named.revision) return named
  if (named.revision === undefined) return { ...named, revision: checkRevision(revision) }
  throw new InputError(
    'bad-revision',
    `${quoted(page.text)} names the revision ${JSON.stringify(named.revision)}, and its query ${JSON.stringify(cut(revision))}. Give one of them.`,
    { revision: cut(revision) },
  )
}

/** @param path what follows the Hub's host, or an id */
function withoutQuery(path: string, { endpoint, text, isPage, hasPath }: HubPath): NamedRepository {
  const parts = path
    .replace(/^api\/models\//, '')
    .replace(/^([\w.-]+)%2f/i, '$1/')
    .split('/')
    .filter((part) => part !== '')
  const [owner = '', name, view, ...rest] = parts
  const other =
    Object.hasOwn(notModels, owner) && (isPage || owner === 'datasets' || owner === 'spaces') ? notModels[owner] : undefined
  if (other !== undefined) throw badId(text, `is ${other}. Give a model, written as owner/name`)
  if (name === undefined) throw withoutOwner(text, owner, isPage)
  const at = name.indexOf('@')
  const id = `${owner}/${(at < 0 ? name : name.slice(0, at)).replace(/\.git$/, '')}`
  if (!isRepositoryId(id)) throw badId(text, 'is not a repository id. An id is owner/name, of letters, digits, "-", "_" and "."')
  if (at >= 0) {
    const { revision, folder } = splitRevision([name.slice(at + 1), ...parts.slice(2)], 'tree', text)
    return { id, endpoint, revision, folder }
  }
  if (view === undefined) return { id, endpoint, revision: undefined, folder: undefined }
  if (hasPath) return { id, endpoint, revision: undefined, folder: splitRevision(['main', view, ...rest], 'blob', text).folder }
  if (viewsWithRevision.has(view)) return { id, endpoint, ...splitRevision(rest, view, text) }
  if (isPage) return { id, endpoint, revision: undefined, folder: undefined }
  throw badId(
    text,
    `has more parts than a repository id, which is owner/name. A path on the page's own server begins with "./", the address of another host with "https://"`,
  )
}

/** The revision at the beginning of a path, and the folder that follows. @throws InputError `bad-revision` */
function splitRevision(parts: readonly string[], view: string, text: string): Pick<NamedRepository, 'revision' | 'folder'> {
  const [first] = parts
  if (first === undefined || first === '') return { revision: undefined, folder: undefined }
  const decoded = parts.map((part) => decodePart(part, text))
  // The Hub's own names of pull requests and conversions have slashes that its addresses may leave unencoded.
  const count = first === 'refs' && parts.length >= 3 ? 3 : 1
  const revision = checkRevision(decoded.slice(0, count).join('/'))
  const path = decoded.slice(count)
  if ((viewsOfFiles.has(view) ? /\.\w+$/ : modelFile).test(path.at(-1) ?? '')) path.pop()
  const folder = path.filter((part) => part !== '').join('/')
  const names = view === 'commit' || view === 'commits' || folder === '' ? undefined : folder
  return { revision, folder: names }
}

function decodePart(part: string, text: string): string {
  try {
    return decodeURIComponent(part)
  } catch (error) {
    const shown = part.slice(0, 200)
    throw new InputError(
      'bad-revision',
      `${quoted(text)} is not valid percent-encoding at ${JSON.stringify(shown)}.`,
      { revision: shown },
      error,
    )
  }
}

function isHub(host: string, endpoint: string): boolean {
  const plain = host.replace(/^www\./, '')
  return hubHosts.has(plain) || mirrorHosts.has(plain) || plain === plainHost(new URL(endpoint))
}

/** A host and its port without `www.`. */
function plainHost({ host }: URL): string {
  return host.replace(/^www\./, '').replace(/\.(?=:|$)/, '')
}

/** The path without its query, and without the name of one of the {@link folderFiles} at its end. */
function folderOf(path: string): string {
  return stripQuery(path).replace(folderFiles, '/')
}

function withoutOwner(text: string, name: string, isPage: boolean): InputError {
  if (name === '') return badId(text, 'names no model. Give owner/name, the address of a folder, or a path that begins with "./"')
  if (isPage) return badId(text, 'names no model: a model of the Hub is written as owner/name')
  const path = JSON.stringify(`./${name.slice(0, 100)}`)
  return badId(
    text,
    `has no owner: a model of the Hub is written as owner/name. The path of a folder on the page's own server begins with "./", such as ${path}`,
  )
}

/** The error for a path on the user's disk. */
function onDisk(text: string): InputError {
  return badId(
    text,
    'is a path on a disk, which a web page cannot read. Pick the folder itself, or serve it (aquatint serve) and give its address',
  )
}

/** @param problem completes the sentence that begins with the text */
function badId(text: string, problem: string): InputError {
  return new InputError('bad-repository-id', `${quoted(text)} ${problem}.`, { id: cut(stripQuery(text)) })
}

function badUrl(text: string, problem: string): InputError {
  return new InputError('bad-url', `${quoted(text)} ${problem}.`, { url: cut(stripQuery(text)) })
}

function cut(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}

/** The text for a message, without query and fragment, which may hold secrets. */
function quoted(text: string): string {
  return `"${cut(stripQuery(text))}"`
}
