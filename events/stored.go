package events

// KeepSecrets gives s the secrets of old, the subscription that it replaces, wherever s has none or a mask. It is an
// *Invalid when that is not possible: there is none to keep for a mask, or the origin of the sink has changed, so that
// the secret must be sent again. old is nil for a new subscription.
func (s *Subscription) KeepSecrets(old *Subscription) error { panic("not yet") }

// MakeSecrets makes up the secrets that s needs and has none of, and reports whether it made any. It follows
// KeepSecrets.
func (s *Subscription) MakeSecrets() bool { panic("not yet") }

// EncodeStored writes s with its secrets, for our own store. json.Marshal writes masks instead, for everybody else.
func EncodeStored(s *Subscription) ([]byte, error) { panic("not yet") }

// DecodeStored reads what EncodeStored wrote. It does not validate: what is stored was checked when it came in.
func DecodeStored(text []byte) (*Subscription, error) { panic("not yet") }
