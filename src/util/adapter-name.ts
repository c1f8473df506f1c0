/** The name of a GPU for display, made of the strings of its `GPUAdapterInfo`. Pure. */

/** The strings of a `GPUAdapterInfo`. Browsers may omit each of them or leave it empty. */
export interface AdapterWords {
  readonly vendor?: string
  readonly architecture?: string
  readonly device?: string
  readonly description?: string
}

/** The strings that are not empty, each once, separated by spaces; '' if the adapter reports none, as in Firefox. */
export function adapterName({ vendor, architecture, device, description }: AdapterWords): string {
  const words = [vendor, architecture, device, description].flatMap((word) => (word === undefined || word === '' ? [] : [word]))
  return [...new Set(words)].join(' ')
}
