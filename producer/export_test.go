package producer

// EncodeReceipts is the body of an answer.
func EncodeReceipts(receipts []Receipt, batch bool) []byte { return encodeReceipts(receipts, batch) }
