/**
 * Byte-level pre-tokenization as GPT-2 introduced it: every byte of a text's UTF-8 encoding becomes one visible character, and the
 * vocabulary is written in these characters. So no text contains a character that the vocabulary lacks.
 */

/**
 * The character for each byte. A byte that is a visible character in Latin-1 becomes this character; the others become U+0100, U+0101 and
 * so on.
 */
const characters: readonly string[] = (() => {
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++))
})()

/** Whether the Latin-1 character with this code is visible. */
function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
}

/** The UTF-8 bytes of a text, each as its character. An unpaired surrogate counts as U+FFFD. */
export function toByteCharacters(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => characters[byte] ?? '').join('')
}
