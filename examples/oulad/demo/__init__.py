"""`firstmile demo`: starts everything, shows learners getting answers, proves every hop."""
