/** LoRAs as texts: an address, with the weight behind a colon where it is not 1. The tag's attribute and the command line take them. */

/** Reads `owner/name:0.8` or `https://…/x.safetensors`. A number behind the last colon is the weight, unless it is the port of an address without a path. */
export function parseLoraReference(text: string): { readonly source: string; readonly weight: number } {
  const [, source = '', weight] = /^(.+):(-?\d+(?:\.\d+)?)$/s.exec(text) ?? []
  return weight === undefined || /^\w+:\/\/[^/]*$/.test(source) ? { source: text, weight: 1 } : { source, weight: Number(weight) }
}
