package events

import "strings"

// BatchRef names the batch that a delivery was sent in. What fails is sent again in the same batch, under the same id.
type BatchRef struct {
	ID   string `json:"id"`   // the batch's webhook-id
	List uint64 `json:"list"` // where in the history the names of its members are
}

// BatchID is the webhook-id of a batch: the same for the same deliveries in the same order, without a dot. That of one
// delivery is its event's own, so that its replays, which go alone, have it too.
func BatchID(deliveries []string, first *Event, subscription string) string {
	if len(deliveries) == 1 {
		return first.WebhookID(subscription)
	}
	return webhookID(append([]string{"a batch", subscription}, deliveries...))
}

// BatchPlace is the part of a delivery's id that tells it from the others of its subscription.
func BatchPlace(delivery string) string {
	place, _, _ := strings.Cut(delivery, "-")
	return place
}
