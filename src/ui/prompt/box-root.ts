/** The shadow root of a prompt box: its layout, and its style sheets, which are parsed once for all boxes of a page. */

import { h, sheet } from '../parts/dom.js'
import type { ActivityView } from './activity/activity-view.js'
import type { FormView } from './form/form-view.js'
import type { Message } from './message.js'
import type { PictureArea } from './picture/picture-area.js'
import activityCss from './styles/activity.css?inline'
import formCss from './styles/form.css?inline'
import layoutCss from './styles/layout.css?inline'
import loraCss from './styles/lora-shelf.css?inline'
import pictureCss from './styles/picture-area.css?inline'
import startCss from './styles/start-picture.css?inline'
import tokensCss from './styles/tokens.css?inline'

let sheets: CSSStyleSheet[] | undefined

/** Attaches a shadow root that contains these views. */
export function attachBox(
  host: HTMLElement,
  form: FormView,
  message: Message,
  activity: ActivityView,
  pictures: PictureArea,
): ShadowRoot {
  const root = host.attachShadow({ mode: 'open', delegatesFocus: true })
  root.adoptedStyleSheets = sheets ??= [tokensCss, layoutCss, formCss, startCss, loraCss, activityCss, pictureCss].map(sheet)
  const controls = h('div', { class: 'controls' }, form.element, message.element, activity.element)
  root.append(h('div', { class: 'box', part: 'box' }, controls, pictures.element, activity.account))
  return root
}
