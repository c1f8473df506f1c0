/** Extracts a model's name or address from pasted text. Pure, and small: the page uses this function before it loads the engine. */

/** A command that downloads a repository. */
const command =
  /^(?:[$>!%]\s*)?(?:uv run |uvx )?(?:git (?:lfs )?clone|(?:hf|huggingface-cli) download|ollama (?:run|pull))\s+(.*)$/
/** The address of a page of the Hub among other words, such as those of a command or of a sentence. */
const among = /(?:^|[\s"'([<])(https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)\/[^\s"'<>)\]|]+)/i
/** A line of code or of a config that names a repository by a key. */
const named =
  /^[{,]?\s*["']?(?:model|model_id|repo|repo_id|id|pretrained_model_name_or_path)["']?\s*[:=]\s*["']?([\w.-]+\/[\w.-]+)["']?\s*[,}]?$/i
/** A line of Python that loads a pipeline. */
const loaded = /from_pretrained\(\s*["']([^"']+)["']([^)]*)/
/** An address of another site (an archive, a search engine, a translator) that contains an address of the Hub. */
const wrapped =
  /^https?:\/\/(?!(?:www\.)?(?:huggingface\.co|hf\.co)\b).*?(https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\/[^&\s]+)/i
/** The name of a folder in the Hub's cache. */
const cacheFolder = /^models--([\w.-]+?)--([\w.-]+?)(?:\/snapshots\/([\da-f]{40})(?:\/.*)?)?\/?$/

/** Extracts a model's name or address from pasted text. Removes spaces, quotes, brackets, Markdown links, commands and Python code. */
export function cleanReference(reference: string): string {
  // Text copied from web pages and chats may contain invisible characters.
  let text = reference.replace(/[\p{Cc}\u200b-\u200f\u2028-\u202f\u2060\ufeff]/gu, '').trim()
  const [, source, options = ''] = loaded.exec(text) ?? []
  text = source === undefined ? text : withRevision(source, /\brevision\s*=\s*["']([^"']+)["']/.exec(options)?.[1])
  text = named.exec(text)?.[1] ?? text
  text = /^\[[^\]]*\]\(([^)]*)\)$/.exec(text)?.[1] ?? text
  const words = command.exec(text)?.[1] ?? ''
  const argument = words.split(/\s+/).find((word) => word.includes('/') && !word.startsWith('-'))
  const revision = /(?:^|\s)(?:--revision|--branch|-b)[ =]([^\s"']+)/.exec(words)?.[1]
  if (argument !== undefined) text = withRevision(argument, revision)
  else if (/\s|\]\(/.test(text)) text = among.exec(text)?.[1] ?? text
  if (/^https?:\\/i.test(text)) text = text.replaceAll('\\', '/')
  text = text
    // The suffix of the titles of the Hub's pages.
    .replace(/\s+[·|-]\s+Hugging Face$/i, '')
    .replace(/^(?:[-*•>]\s+|\d+\.\s+)/, '')
    .replace(/^["'`<([*\s“„‘«»→]+/, '')
    // Dots at the end of a sentence, not those of the paths "." and "..".
    .replace(/(?<=[^./\\])["'`>)\]*|,;.\s”“’»…]+$/, '')
    .replace(/["'`>\s]+$/, '')
    .replace(/(?:%20)+$/, '')
    .replace(/^([\w.-]+)(?:\s+\/\s+|%2f)([\w.-]+)$/i, '$1/$2')
    .replace(cacheFolder, (_, owner: string, name: string, commit?: string) =>
      commit === undefined ? `${owner}/${name}` : `${owner}/${name}@${commit}`,
    )
    .replace(/^(?:view-source:|git\+)(?=https?:)/, '')
    .replace(/^(?:(?:h?t{1,2}ps?:?\/+)+|\/\/)(?=(?:www\.)?(?:huggingface\.co|hf\.co)\b)/i, 'https://')
  if (/^https?:/i.test(text)) text = wrapped.exec(text.replaceAll(/%3a/gi, ':').replaceAll(/%2f/gi, '/'))?.[1] ?? text
  return text.replace(/^(?:ssh:\/\/)?git@(hf\.co|huggingface\.co)[:/]/, 'https://$1/')
}

/** Appends the revision to a name if the pasted text gives it elsewhere. The address of a page already contains its revision. */
function withRevision(name: string, revision: string | undefined): string {
  if (revision === undefined) return name
  const path = name.replace(/^https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\//i, '').replace(/\/$/, '')
  return /^[\w.-]+\/[\w.-]+$/.test(path) ? `${path.replace(/\.git$/, '')}@${revision}` : name
}
