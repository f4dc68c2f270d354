package producer_test

import (
	"context"
	"fmt"
	"os"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/producer"
)

// connect stands for nats.Connect("nats://<api key>@127.0.0.1:4222"): it starts the fleet too.
func connect() (*nats.Conn, func()) {
	dir, err := os.MkdirTemp("", "example-*")
	if err != nil {
		panic(err)
	}
	f, end, err := startFleet(dir, func(name string, err error) { panic(name + ": " + err.Error()) })
	if err != nil {
		panic(err)
	}
	return f.nc, func() { end(); _ = os.RemoveAll(dir) }
}

func ExampleClient_Publish() {
	nc, end := connect()
	defer end()

	client := producer.New(nc)
	e := cloudevents.New()
	e.SetID("order-1-booked")
	e.SetSource("https://orders.example")
	e.SetType("order.status")
	e.SetSubject("order-1")
	_ = e.SetData(cloudevents.ApplicationJSON, map[string]string{"status": "Booked"})

	for range 2 { // a second time is harmless
		receipt, err := client.Publish(context.Background(), e)
		fmt.Println(receipt.Sequence, receipt.Duplicate, err)
	}
	// Output:
	// 1 false <nil>
	// 1 true <nil>
}

func ExampleClient_PublishAsync() {
	nc, end := connect()
	defer end()

	client := producer.New(nc, producer.Tenant("acme"))
	var results []<-chan producer.Result
	for n := range 3 {
		results = append(results, client.PublishAsync(context.Background(), sdkEvent(fmt.Sprint("order-", n), nil)))
	}
	for _, done := range results {
		r := <-done
		fmt.Println(r.Receipt.ID, r.Receipt.Tenant, r.Err)
	}
	// Output:
	// order-0 acme <nil>
	// order-1 acme <nil>
	// order-2 acme <nil>
}

func ExampleClient_PublishBatch() {
	nc, end := connect()
	defer end()

	client := producer.New(nc)
	receipts, err := client.PublishBatch(context.Background(), []cloudevents.Event{sdkEvent("a", nil), sdkEvent("b", nil)})
	fmt.Println(len(receipts), err)
	// Output: 2 <nil>
}
