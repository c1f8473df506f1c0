/** The script of `embed.html`: a prompt box in a frame, controlled by messages, for sites that cannot load modules. */

import './element.js'
import { isAquatintError } from '../index.js'
import { allowedOrigin, parseRequest, type EmbedMessage } from './embed-protocol.js'
import { readAddress } from './page/address.js'

const box = document.querySelector('aquatint-prompt')
if (box === null) throw new TypeError('The page has no prompt box')

const here = new URL(location.href)
const { settings, loadOptions } = readAddress(here)
box.loadOptions = loadOptions
box.settings = settings
box.toggleAttribute('fixed-model', here.searchParams.has('fixed-model'))

const origin = window.parent === window ? undefined : allowedOrigin(here)
if (origin !== undefined) connect(box, origin)

function connect(box: HTMLElementTagNameMap['aquatint-prompt'], origin: string): void {
  const send = (message: EmbedMessage) => window.parent.postMessage(message, origin)
  /** The id of the running request. */
  let asked: string | null = null
  const fail = (error: unknown) => {
    const code = isAquatintError(error)
      ? error.code
      : error instanceof DOMException && error.name === 'AbortError'
        ? 'aborted'
        : 'unknown'
    send({ aquatint: 1, type: 'error', id: asked, code, message: error instanceof Error ? error.message : String(error) })
  }
  window.addEventListener('message', (event) => {
    if (event.source !== window.parent || event.origin !== origin) return
    const request = parseRequest(event.data)
    if (request === undefined) return
    if (request.type === 'cancel') {
      box.cancel()
      return
    }
    box.settings = request.settings
    if (request.type !== 'generate') return
    asked = request.id
    box
      .generate()
      .catch(fail)
      .finally(() => {
        asked = null
      })
  })
  box.addEventListener('statechange', ({ detail }) => send({ aquatint: 1, type: 'state', state: detail }))
  box.addEventListener('step', ({ detail: { step, total } }) => send({ aquatint: 1, type: 'step', step, total }))
  box.addEventListener('image', ({ detail: { files, settings } }) =>
    send({ aquatint: 1, type: 'image', id: asked, files, settings }),
  )
  box.addEventListener('error', ({ detail }) => {
    // The `catch` of `generate` above sends the failure of a request, with its id.
    if (asked === null) fail(detail)
  })
  // Use the height of the body, because the document is always at least as high as the frame.
  const sendHeight = () => send({ aquatint: 1, type: 'height', height: Math.ceil(document.body.getBoundingClientRect().height) })
  new ResizeObserver(sendHeight).observe(document.body)
  send({ aquatint: 1, type: 'ready' })
}
