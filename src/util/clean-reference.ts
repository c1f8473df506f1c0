/** Removes from a pasted name or address what is not part of it. Pure, and small: the page uses it before the engine is loaded. */

/** A command that downloads a repository. */
const command = /^(?:[$>]\s*)?(?:git (?:lfs )?clone|(?:hf|huggingface-cli) download|ollama (?:run|pull))\s+(.*)$/
/** Another site's address that has one of the Hub in it: of an archive, a search engine or a translator. */
const wrapped =
  /^https?:\/\/(?!(?:www\.)?(?:huggingface\.co|hf\.co)\b).*?(https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\/[^&\s]+)/i
/** The name of a folder in the Hub's cache. */
const cacheFolder = /^models--([\w.-]+?)--([\w.-]+?)(?:\/snapshots\/([\da-f]{40})(?:\/.*)?)?\/?$/

/** A pasted text without what surrounds a name: spaces, line breaks, quotes, brackets, a Markdown link, a command, a line of Python. */
export function cleanReference(reference: string): string {
  // Invisible characters come along from web pages and chats.
  let text = reference.replace(/[\p{Cc}\u200b-\u200f\u2028-\u202f\u2060\ufeff]/gu, '').trim()
  text = /from_pretrained\(\s*["']([^"']+)["']/.exec(text)?.[1] ?? text
  text = /^\[[^\]]*\]\(([^)]*)\)$/.exec(text)?.[1] ?? text
  const words = command.exec(text)?.[1] ?? ''
  const named = words.split(/\s+/).find((word) => word.includes('/') && !word.startsWith('-'))
  const revision = /(?:^|\s)--revision[ =]([^\s"']+)/.exec(words)?.[1]
  if (named !== undefined) text = revision === undefined ? named : `${named}@${revision}`
  text = text
    .replace(/^(?:[-*•]\s+|\d+\.\s+)/, '')
    .replace(/^["'`<([\s“„‘«]+/, '')
    // Dots at the end of a sentence, not those of the paths "." and "..".
    .replace(/(?<=[^./\\])["'`>)\],;.\s”“’»…]+$/, '')
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
