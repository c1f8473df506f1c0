/** The name of a GPU, made of what its adapter reports of itself. Pure. */

/** What an adapter reports. Browsers may leave any of it empty or out. */
export interface AdapterWords {
  readonly vendor?: string
  readonly architecture?: string
  readonly device?: string
  readonly description?: string
}

/** The words that are there, each once; '' where the adapter reports nothing, as in Firefox. */
export function adapterName({ vendor, architecture, device, description }: AdapterWords): string {
  const words = [vendor, architecture, device, description].flatMap((word) => (word === undefined || word === '' ? [] : [word]))
  return [...new Set(words)].join(' ')
}
