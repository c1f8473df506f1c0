/** Prints numbers of parameters. */

/** `2.57 billion`: three figures. */
export function showCount(count: number): string {
  if (count >= 999.5e6) return `${Number((count / 1e9).toPrecision(3))} billion`
  if (count >= 999.5e3) return `${Number((count / 1e6).toPrecision(3))} million`
  return String(count)
}
