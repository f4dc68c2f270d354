module github.com/hookfleet/hookfleet

go 1.26.0
