/**
 * Caches the page itself, its scripts and the runtime's wasm, so that the page opens without a network. It does not handle models: the engine
 * downloads their weights in ranges, verifies them and has a cache of its own.
 *
 * The page and its scripts get the headers of a cross-origin isolated page: on hosts that do not send them, the CPU's kernels use threads
 * from the second visit on. embed.html, which other sites show in frames, stays as its host sends it.
 */

const cacheName = 'aquatint-shell-2'
const scope = new URL(self.registration.scope)

self.addEventListener('install', (event) => {
  event.waitUntil(refreshShell().then(() => self.skipWaiting()))
})

self.addEventListener('activate', (event) => {
  event.waitUntil(dropOldCaches().then(() => self.clients.claim()))
})

self.addEventListener('fetch', (event) => {
  const { request } = event
  const url = new URL(request.url)
  if (request.method !== 'GET' || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return
  if (request.headers.has('range')) return
  const path = url.pathname.slice(scope.pathname.length)
  if (request.mode === 'navigate' && (path === '' || path === 'index.html')) event.respondWith(openPage(event))
  else if (path.startsWith('assets/')) event.respondWith(fromCacheFirst(request))
  else if (path.startsWith('icons/') || path === 'manifest.webmanifest') event.respondWith(fromNetworkFirst(request))
})

/** The page from the network, or else from the cache. */
async function openPage(event) {
  try {
    const response = await fetch(event.request)
    if (response.ok) event.waitUntil(response.clone().text().then(refreshShell))
    return isolated(response)
  } catch (error) {
    const cached = await caches.match(scope.href, { cacheName })
    if (cached !== undefined) return cached
    throw error
  }
}

/**
 * The response with the headers of a cross-origin isolated page, or of a script that such a page may run as a worker. Other sites' files
 * are fetched with CORS, so `require-corp` refuses none of them; Safari does not support `credentialless`.
 */
function isolated(response) {
  // The response is a redirect, which only the browser can follow.
  if (response.status === 0) return response
  const { status, statusText } = response
  const headers = new Headers(response.headers)
  headers.set('cross-origin-opener-policy', 'same-origin')
  headers.set('cross-origin-embedder-policy', 'require-corp')
  return new Response(response.body, { status, statusText, headers })
}

/** Files under assets/ have a hash of their content in their names, so a cached file is never out of date. */
async function fromCacheFirst(request) {
  const cached = await caches.match(request.url, { cacheName })
  if (cached !== undefined) return cached
  const response = isolated(await fetch(request))
  await keep(request.url, response)
  return response
}

async function fromNetworkFirst(request) {
  try {
    const response = await fetch(request)
    await keep(request.url, response)
    return response
  } catch (error) {
    const cached = await caches.match(request.url, { cacheName })
    if (cached !== undefined) return cached
    throw error
  }
}

async function keep(url, response) {
  if (!response.ok || response.status !== 200) return
  const copy = response.clone()
  try {
    const cache = await caches.open(cacheName)
    await cache.put(url, copy)
  } catch {
    // Storage is full. The page works, but does not open offline.
  }
}

/**
 * Caches the page and the files that it names. A changed page names other files; the old ones are deleted only after all new ones are
 * cached, so the page opens offline even if this update is interrupted.
 */
async function refreshShell(text) {
  const cache = await caches.open(cacheName)
  const page = text ?? (await (await fetch(scope.href, { cache: 'no-cache' })).text())
  const before = await cache.match(scope.href)
  if (before !== undefined && (await before.text()) === page) return
  const old = await cache.keys()
  const named = new Set(
    [...page.matchAll(/(?:src|href)="(\.\/(?:assets|icons)\/[^"]+|\.\/manifest\.webmanifest)"/g)].map(([, path]) => new URL(path, scope).href),
  )
  await Promise.all([...named].map((url) => add(cache, url)))
  await cache.put(scope.href, isolated(new Response(page, { headers: { 'content-type': 'text/html; charset=utf-8' } })))
  for (const request of old) if (request.url !== scope.href && !named.has(request.url)) await cache.delete(request)
}

async function add(cache, url) {
  const response = await fetch(url)
  if (!response.ok) throw new TypeError(`${url} answered ${response.status}`)
  await cache.put(url, isolated(response))
}

async function dropOldCaches() {
  for (const name of await caches.keys()) if (name.startsWith('aquatint-shell-') && name !== cacheName) await caches.delete(name)
}
