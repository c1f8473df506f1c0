/** Removes from a pasted name or address what is not part of it. Pure, and small: the page uses it before the engine is loaded. */

/** A pasted text without what surrounds a name: spaces, line breaks, quotes, brackets, a Markdown link, `git clone`. */
export function cleanReference(reference: string): string {
  // Invisible characters come along from web pages and chats.
  let text = reference.replace(/[\p{Cc}\u200b-\u200f\u2028-\u202f\u2060\ufeff]/gu, '').trim()
  text = /^\[[^\]]*\]\(([^)]*)\)$/.exec(text)?.[1] ?? text
  text = text
    .replace(/^git clone\s+/, '')
    .replace(/^["'`<([\s]+/, '')
    // Dots at the end of a sentence, not those of the paths "." and "..".
    .replace(/(?<=[^./\\])["'`>)\],;.\s]+$/, '')
    .replace(/["'`>\s]+$/, '')
  return text.replace(/^(?:ssh:\/\/)?git@(hf\.co|huggingface\.co)[:/]/, 'https://$1/')
}
