"""What operators see and do: api, console and command line share these, and add only their own forms.

People are masked in all that is read here, unless `unmasking` was asked, which records who saw whom.
"""
