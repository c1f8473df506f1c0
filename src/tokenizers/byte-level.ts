/**
 * Byte-level pre-tokenization as GPT-2 introduced it: every byte of a text's UTF-8 form is one visible character, in which the vocabulary is
 * written. So no text contains a character that the vocabulary lacks.
 */

/** The character for each byte: printable ones of Latin-1 stand for themselves, the others are U+0100 and what follows, in order. */
const characters: readonly string[] = (() => {
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++))
})()

/** Whether the character of Latin-1 with this number can be seen. */
function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
}

/** The UTF-8 bytes of a text, each as its character. An unpaired surrogate counts as U+FFFD. */
export function toByteCharacters(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => characters[byte] ?? '').join('')
}
