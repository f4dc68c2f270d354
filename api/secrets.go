package api

import "net/http"

// rotateChunk is how many subscriptions one call stores anew: some seconds of work where each write is synced.
const rotateChunk = 2000

// rotation says how far the change of the secrets' key has come.
type rotation struct {
	Key       string `json:"key" doc:"id of the first of secrets.keys, of the process that answers; it tells nothing about the key"`
	Rotated   int    `json:"rotated" doc:"subscriptions and sources whose secrets this call has encrypted with it"`
	Remaining int    `json:"remaining" doc:"those that are left: call again until it is 0"`
	Locked    int    `json:"locked" doc:"those whose secrets cannot be opened, because their key is missing or the record was changed; they stay as they are"`
}

func (a *API) secretRoutes() []route {
	return []route{{
		method: "POST", path: "/v1/secrets/rotate", id: "rotateSecrets", tag: "keys", roles: operatorOnly,
		summary: "Encrypt stored secrets with the first key of secrets.keys",
		text: "Beyond the contract: what hookfleet key rotate-secrets calls. Encrypts the secrets of up to 2,000 subscriptions and sources that are stored with " +
			"another key, or unencrypted by an earlier release. It changes nothing that can be seen, no ETag, and may be called at any time, again and " +
			"by several. When none is left, all records are stored once more, so that nothing of before is left in the store's " +
			"files; the log says when that is done. First give every process the new key before the old one in secrets.keys; when remaining and locked are 0, take the old one out.",
		handle:  a.rotateSecrets,
		answers: []answer{{status: 200, text: "how far it has come", value: typeOf[rotation]()}},
	}}
}

func (a *API) rotateSecrets(c *call) error {
	done, err := a.deps.Registry.Reseal(c.r.Context(), rotateChunk)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, rotation{Key: done.Key, Rotated: done.Done, Remaining: done.Left, Locked: done.Locked})
}
