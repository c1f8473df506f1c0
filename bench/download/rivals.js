/** The ways to download that Aquatint is compared with, in a page. `virtual:hub` and `virtual:transformers` are their published packages. */

import { downloadFile } from 'virtual:hub'
import { env } from 'virtual:transformers-env'
import { getModelFile } from 'virtual:transformers'

/** Reads a body to its end and counts its bytes. */
async function drain(stream) {
  const reader = stream.getReader()
  let bytes = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return bytes
    bytes += value.length
  }
}

globalThis.rivals = {
  async fetch({ endpoint, id, path }) {
    const response = await fetch(`${endpoint}/${id}/resolve/main/${path}`)
    return drain(response.body)
  },
  async hub({ endpoint, id, path }) {
    const blob = await downloadFile({ repo: id, path, hubUrl: endpoint })
    return drain(blob.stream())
  },
  async transformers({ endpoint, id, path }) {
    env.remoteHost = `${endpoint}/`
    env.allowLocalModels = false
    const bytes = await getModelFile(id, path, true, {})
    return bytes.byteLength
  },
}
